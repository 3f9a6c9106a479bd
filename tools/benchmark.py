"""How fast the parts are here. Every file in tools/benchmarks/ is a command.

Example: python tools/benchmark.py deform_attn --quick --json deform_attn.json
"""

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent
COMMANDS = FOLDER / "benchmarks"


def load(file: Path) -> ModuleType:
    """The module in a file, under the name of the file."""
    if str(FOLDER) not in sys.path:
        sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location(f"benchmark_{file.stem}", file)
    assert spec is not None and spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def build_parser() -> argparse.ArgumentParser:
    """The command line: one sub-command per file.

    A file has a docstring (its help), ``measure(arguments) -> list[Row]`` and, where it has options of its own,
    ``add_options(parser)``.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for file in sorted(COMMANDS.glob("*.py")):
        module = load(file)
        text = str(module.__doc__)
        command = commands.add_parser(
            file.stem,
            help=text.splitlines()[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--quick", action="store_true", help="small sizes and few repeats: does it run at all?")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
        command.add_argument("--plot", type=Path, metavar="FILE", help="draw the rows there")
        getattr(module, "add_options", lambda _: None)(command)
        command.set_defaults(measure=module.measure)
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON and plot. Ends with 1 when a bar is missed, 2 for wrong input."""
    arguments = build_parser().parse_args(given)
    measuring = load(FOLDER / "measuring.py")
    try:
        rows = arguments.measure(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    title = f"{arguments.command}{' (quick)' if arguments.quick else ''}"
    measuring.print_rows(rows, title=title)
    if arguments.json:
        measuring.write_rows(rows, arguments.json)
    if arguments.plot:
        measuring.plot_rows(rows, arguments.plot, title=title)
    return 1 if any(row.ok is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
