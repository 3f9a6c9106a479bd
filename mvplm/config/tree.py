"""Reading: YAML files with their bases, and dotted overrides, as plain trees that know where they come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE_KEY = "_BASE_"


@dataclass(frozen=True)
class Layer:
    """One tree of settings; ``origin`` is the file or the override it comes from, for messages."""

    tree: dict[str, Any]
    origin: str


def read_layers(path: Path, errors: list[str], *, chain: tuple[Path, ...] = ()) -> list[Layer]:
    """The layers of a file, the furthest base first. What is wrong is appended to ``errors``.

    Args:
        path: a YAML file. ``_BASE_`` in it names one file or a list of files, relative to its own folder.
        errors: receives one sentence per problem.
        chain: files being read, to notice circles.
    """
    path = path.resolve()
    if path in chain:
        errors.append("_BASE_ runs in a circle: " + " -> ".join(str(p) for p in (*chain, path)))
        return []
    tree = _read_yaml(path, errors)
    if tree is None:
        return []
    bases = tree.pop(BASE_KEY, [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        errors.append(f"{path}: _BASE_ must be a path or a list of paths, got {bases!r}")
        bases = []
    layers = [layer for base in bases for layer in read_layers(path.parent / base, errors, chain=(*chain, path))]
    return [*layers, Layer(tree, str(path))]


def override_layers(overrides: Sequence[str], errors: list[str]) -> list[Layer]:
    """One layer per ``dotted.key=value``; values are read as YAML. Problems are appended to ``errors``."""
    from omegaconf import OmegaConf
    from yaml import YAMLError

    layers = []
    for item in overrides:
        key, equals, _ = item.partition("=")
        origin = f"override {item!r}"
        if not equals or not key.strip() or not all(part.strip() for part in key.split(".")):
            errors.append(f"{origin} must have the form dotted.key=value")
            continue
        try:
            tree = OmegaConf.to_container(OmegaConf.from_dotlist([item.strip()]), resolve=False)
        except (YAMLError, ValueError) as error:
            errors.append(f"{origin}: the value is not valid YAML ({_first_line(error)})")
            continue
        assert isinstance(tree, dict)
        layers += _checked({str(name): value for name, value in tree.items()}, origin, errors=errors)
    return layers


def _checked(tree: dict[str, Any], origin: str, *, errors: list[str]) -> list[Layer]:
    found = [f"{origin}: {problem}" for problem in _forbidden(tree)]
    errors += found
    return [] if found else [Layer(tree, origin)]


def _read_yaml(path: Path, errors: list[str]) -> dict[str, Any] | None:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    if not path.is_file():
        errors.append(f"{path}: no such config file")
        return None
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (YAMLError, ValueError, OSError) as error:
        errors.append(f"{path}: not readable as YAML: {error}")
        return None
    if not isinstance(tree, dict):
        errors.append(f"{path}: a config must be a mapping, got a {type(tree).__name__}")
        return None
    found = [f"{path}: {problem}" for problem in _forbidden(tree)]
    errors += found
    return None if found else {str(name): value for name, value in tree.items()}


def _forbidden(tree: Any, *, prefix: str = "") -> Iterator[str]:
    """Values that OmegaConf would interpret when read: interpolations and the mark for missing values."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _forbidden(value, prefix=f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _forbidden(value, prefix=f"{prefix}[{index}]")
    elif isinstance(tree, str) and "${" in tree:
        yield f"{prefix}: interpolation ({tree!r}) is not supported"
    elif isinstance(tree, str) and tree == "???":
        yield f"{prefix}: '???' is not a value"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
