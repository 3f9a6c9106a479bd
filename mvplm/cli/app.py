"""All commands put together."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from mvplm.cli import (
    analyse,
    compare,
    convert,
    data,
    doctor,
    evaluate,
    label,
    models,
    predict,
    quickstart,
    suite,
    textmask,
    train,
)
from mvplm.cli.guard import guarded

_SETTINGS = {"help_option_names": ["-h", "--help"]}


def build_app(*, debug: bool = False) -> typer.Typer:
    """The command tree.

    Args:
        debug: show tracebacks of errors that are otherwise told in one message.
    """
    app = typer.Typer(
        name="mvplm",
        help="Boxes and masks for a list of words or a sentence.",
        epilog="Example: mvplm quickstart",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
    )
    app.callback()(_options)
    for module in (quickstart, predict, train, evaluate, analyse, compare, convert, doctor):
        _add_all(app, module.COMMANDS, debug=debug)
    for name, module in (("data", data), ("models", models), ("textmask", textmask)):
        group = typer.Typer(help=module.HELP, epilog=module.EXAMPLE, no_args_is_help=True, context_settings=_SETTINGS)
        _add_all(group, module.COMMANDS, debug=debug)
        app.add_typer(group, name=name)
    _add_label(app, debug=debug)
    settings = {"epilog": f"Example: {suite.EXAMPLE}", "context_settings": _SETTINGS, "hidden": True}
    app.command(suite.COMMAND, **settings)(guarded(suite.evaluate_suite, debug=debug))
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 a check failed, 2 wrong input, 130 stopped by Ctrl-C.

    Args:
        arguments: what follows ``mvplm``; None takes the process's own.
    """
    given = suite.with_suite(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given or os.environ.get("MVPLM_DEBUG", "0") not in ("", "0")
    command = typer.main.get_command(build_app(debug=debug))
    try:
        command.main([item for item in given if item != "--debug"], prog_name="mvplm")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        from mvplm import __version__

        typer.echo(f"mvplm {__version__}")
        raise typer.Exit()


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also MVPLM_DEBUG=1).")] = False,
) -> None:
    """Both options are dealt with before a command runs."""


def _add_label(app: typer.Typer, *, debug: bool) -> None:
    """``mvplm label`` is a command and has one below it."""
    group = typer.Typer(help=label.HELP, epilog=label.EXAMPLE, context_settings=_SETTINGS)
    group.callback(invoke_without_command=True)(guarded(label.label, debug=debug))
    _add_all(group, label.COMMANDS, debug=debug)
    app.add_typer(group, name="label")


def _add_all(app: typer.Typer, commands: dict[str, tuple[Callable[..., Any], str]], *, debug: bool) -> None:
    for name, (function, example) in commands.items():
        app.command(name, epilog=f"Example: {example}", context_settings=_SETTINGS)(guarded(function, debug=debug))
