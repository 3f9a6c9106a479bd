"""The house rules that a machine can check, over the package and the tools."""

import ast
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mvplm"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tools").rglob("*.py")])

LEVELS = {
    **dict.fromkeys(("structures", "config"), 0),
    **dict.fromkeys(("prompts", "textmask", "losses", "postprocess", "evaluation", "visualize", "interop"), 1),
    **dict.fromkeys(("data", "models", "engine"), 2),
    **dict.fromkeys((path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__"), 3),
    **dict.fromkeys(("label", "analysis", "measuring", "text4seg", "qwen3vl_seg"), 3),
    **dict.fromkeys(("cli", "tools"), 4),
}
MAX_FILE, MAX_FUNCTION, MAX_PARAMETERS, FREE_POSITIONS, MAX_TUPLE = 400, 60, 10, 2, 2
PLACES = re.compile(r"(?<![\w.])/(work|root|home|tmp|farm|mnt|Users)/\w")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def functions(tree: ast.AST) -> Iterator[Function]:
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def every_file(check) -> list[str]:
    """What a check finds in all files, as ``file:line what`` lines."""
    return [f"{name_of(path)}:{line} {what}" for path in FILES for line, what in check(path)]


def report(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


def test_there_is_something_to_check():
    assert len(FILES) > 20


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    report([f"{name}: {length} lines" for name, length in lengths.items() if length > MAX_FILE])


def long_functions(path: Path) -> Iterator[tuple[int, str]]:
    for node in functions(tree_of(path)):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION:
            yield node.lineno, f"{node.name}: {length} lines"


def test_functions_are_short():
    report(every_file(long_functions))


def is_method(node: Function, tree: ast.AST) -> bool:
    return any(isinstance(parent, ast.ClassDef) and node in parent.body for parent in ast.walk(tree))


def has_decorator(node: Function, *names: str) -> bool:
    texts = [ast.unparse(item) for item in node.decorator_list]
    return any(text.split("(")[0].split(".")[-1] in names for text in texts)


# Kernels for numba and Triton take plain arrays and numbers, by position: they know no dataclasses.
COMPILED = ("jit", "njit", "intrinsic", "_compiled")


def is_command(node: Function) -> bool:
    """A command of the terminal: Typer wants a parameter for each of its options.

    All of its parameters say what they are for, arguments of the terminal may be given by position, options never.
    """
    given, named = (
        [ast.unparse(argument.annotation) if argument.annotation else "" for argument in arguments]
        for arguments in (node.args.args, node.args.kwonlyargs)
    )
    told = all(text.startswith("Annotated[") and "help=" in text for text in [*given, *named])
    return told and all("typer.Argument(" in text for text in given) and all("typer.Option(" in text for text in named)


def overfull_signatures(path: Path) -> Iterator[tuple[int, str]]:
    tree = tree_of(path)
    for node in functions(tree):
        if has_decorator(node, *COMPILED):
            continue
        positional = [*node.args.posonlyargs, *node.args.args]
        if is_method(node, tree) and not has_decorator(node, "staticmethod"):
            positional = positional[1:]
        total = len(positional) + len(node.args.kwonlyargs)
        if total > MAX_PARAMETERS and not is_command(node):
            yield node.lineno, f"{node.name}: {total} parameters"
        if len(positional) > FREE_POSITIONS and not fixed_by_others(node):
            yield node.lineno, f"{node.name}: {len(positional)} positional parameters"


# The panoptic format's own quartet, in the order in which every tool of the field takes it.
PRESCRIBED = {"update": ["self", "pred_map", "pred_segments", "gt_map", "gt_segments"]}


def fixed_by_others(node: Function) -> bool:
    """Signatures that Python, torch or a format prescribes: special methods but ``__init__``, autograd functions."""
    if PRESCRIBED.get(node.name) == [argument.arg for argument in node.args.args]:
        return True
    special = node.name.startswith("__") and node.name not in ("__init__", "__call__")
    arguments = node.args.args
    return special or (bool(arguments) and arguments[0].arg == "ctx" and node.name in ("forward", "backward"))


def test_signatures_are_small():
    report(every_file(overfull_signatures))


def public_definitions(path: Path) -> Iterator[tuple[int, str]]:
    tree = tree_of(path)
    if not ast.get_docstring(tree):
        yield 1, "module"
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.lineno, node.name
        for member in node.body if isinstance(node, ast.ClassDef) else ():
            public = isinstance(member, Function) and not member.name.startswith("_")
            if public and not ast.get_docstring(member) and not has_decorator(member, "setter", "overload"):
                yield member.lineno, f"{node.name}.{member.name}"


def test_public_names_have_docstrings():
    report([f"{line} has no docstring" for line in every_file(public_definitions)])


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] != "mvplm" else parts[1].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield node.lineno, "." * node.level
                continue
            module = node.module or ""
            modules = [f"mvplm.{alias.name}" for alias in node.names] if module == "mvplm" else [module]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            if parts[0] == "mvplm" and len(parts) > 1 and parts[1] in LEVELS:
                yield node.lineno, parts[1]


# Convenience methods of results call upwards, inside the function only: a drawing or a foreign format on request.
UPWARD_ON_CALL = {("structures", "visualize"), ("structures", "interop")}
# What is on level 3 knows one another: loading a model builds it.
TOP = 3


def wrong_imports(path: Path) -> Iterator[tuple[int, str]]:
    room = room_of(path)
    if room == "__init__":
        return
    if room not in LEVELS:
        yield 1, f"room {room!r} has no level"
        return
    indented = {
        node.lineno
        for function in functions(tree_of(path))
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    for line, target in imported_rooms(path):
        if target.startswith("."):
            yield line, "relative import"
        elif target != room and LEVELS[target] >= LEVELS[room]:
            both_top = LEVELS[room] == LEVELS[target] == TOP
            if not both_top and not ((room, target) in UPWARD_ON_CALL and line in indented):
                yield line, f"{room} (level {LEVELS[room]}) imports {target} (level {LEVELS[target]})"


def test_rooms_import_only_lower_levels():
    report(every_file(wrong_imports))


def test_only_build_sees_config_and_classes():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        if room_of(path) in ("prompts", "losses", "postprocess", "evaluation", "data", "models", "engine"):
            yield from ((line, "imports config") for line, target in imported_rooms(path) if target == "config")

    report(every_file(check))


def test_no_second_versions_of_a_thing():
    twin = re.compile(r".*(_v\d+|_old|_new|_copy|_backup)$")

    def check(path: Path) -> Iterator[tuple[int, str]]:
        if twin.match(path.stem):
            yield 1, "file name"
        for node in ast.walk(tree_of(path)):
            if isinstance(node, Function | ast.ClassDef) and twin.match(node.name):
                yield node.lineno, node.name

    report(every_file(check))


def looks_like_code(text: str) -> bool:
    """A statement in a comment: it parses, and it is an assignment, call, import or keyword statement."""
    text = text.strip().rstrip(":").strip()
    if re.fullmatch(r"(type|noqa|pragma|ruff|mypy)\b.*", text):
        return False
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        return False
    if len(body) != 1:
        return False
    node = body[0]
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call) and re.fullmatch(r"[\w.]+\(.*\)", text) is not None
    return isinstance(
        node, ast.Assign | ast.AugAssign | ast.Import | ast.ImportFrom | ast.Return | ast.Delete | ast.Assert
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = y + 1", True),
        ("print(x)", True),
        ("import torch", True),
        ("return x", True),
        ("The dot product needs fp32.", False),
        ("noqa: E501", False),
        ("B, T", False),
        ("names (B, K)", False),
        ("see below", False),
    ],
)
def test_the_search_for_code_in_comments(text: str, expected: bool):
    assert looks_like_code(text) is expected


def test_no_commented_out_code():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.COMMENT and looks_like_code(token.string.lstrip("#!")):
                    yield token.start[0], token.string

    report(every_file(check))


def test_no_long_tuples_are_returned():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        for node in functions(tree_of(path)):
            for part in ast.walk(node.returns) if node.returns else ():
                if isinstance(part, ast.Subscript) and ast.unparse(part.value).lower().endswith("tuple"):
                    inner = part.slice
                    plain = isinstance(inner, ast.Tuple) and not any(
                        isinstance(item, ast.Constant) and item.value is Ellipsis for item in inner.elts
                    )
                    if plain and len(inner.elts) > MAX_TUPLE:
                        yield node.lineno, f"{node.name} returns {ast.unparse(node.returns)}"

    report(every_file(check))


def test_every_function_says_what_it_takes_and_returns():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        tree = tree_of(path)
        for node in functions(tree):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            if missing or node.returns is None:
                yield node.lineno, f"{node.name}: {', '.join(missing) or 'return type'}"

    report([f"{line} has no type" for line in every_file(check)])


def test_no_error_is_swallowed():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            if node.type is None:
                yield node.lineno, "bare except"
            elif ast.unparse(node.type) in ("Exception", "BaseException") and all(
                isinstance(item, ast.Pass | ast.Continue) for item in node.body
            ):
                yield node.lineno, f"except {ast.unparse(node.type)} that does nothing"

    report(every_file(check))


def test_torch_load_is_safe():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
                if not safe:
                    yield node.lineno, "torch.load without weights_only=True"
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("yaml.load", "pickle.load", "pickle.loads"):
                yield node.lineno, ast.unparse(node.func)

    report(every_file(check))


def test_no_places_of_one_machine():
    def check(path: Path) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if PLACES.search(line):
                yield number, line.strip()

    report(every_file(check))


@pytest.mark.parametrize("text", ["open('/root/x')", "/tmp/abc", '"/home/me"', "see /work/thing"])
def test_the_search_for_places_finds_them(text: str):
    assert PLACES.search(text)


@pytest.mark.parametrize("text", ["a/work/b", "https://x.org/home/a", "things / work", "out/tmp/x"])
def test_the_search_for_places_leaves_others_alone(text: str):
    assert not PLACES.search(text)


def test_datasets_folder_is_no_package():
    assert (ROOT / "datasets").is_dir()
    assert not (ROOT / "datasets" / "__init__.py").exists()


def loaded_modules(statement: str, *names: str) -> set[str]:
    code = f"import sys\n{statement}\nprint([n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(ast.literal_eval(done.stdout))


@pytest.mark.parametrize("module", ["mvplm", "mvplm.cli"])
def test_importing_is_light(module: str):
    heavy = ("torch", "transformers", "timm", "torchvision", "omegaconf", "scipy", "matplotlib", "PIL")
    assert loaded_modules(f"import {module}", *heavy) == set()


def test_the_network_comes_without_the_compiler():
    """torchvision would bring it, too. timm imports both, but only models with a timm encoder need timm."""
    rooms = "import mvplm.data, mvplm.losses, mvplm.models.mvplm, mvplm.models.ops, mvplm.engine"
    assert loaded_modules(rooms, "torch._dynamo", "torchvision", "accelerate") == set()


def test_public_names_are_listed_and_a_wrong_one_is_answered_with_the_nearest():
    import mvplm

    assert {"load", "create_model", "list_models", "Perceiver", "Perception"} <= set(dir(mvplm))
    with pytest.raises(AttributeError, match="did you mean 'Perceiver'"):
        mvplm.Perciever  # noqa: B018
