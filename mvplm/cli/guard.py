"""How a command ends: one clear line for wrong input and for Ctrl-C, a traceback only for real defects."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import typer

WRONG_INPUT, STOPPED = 2, 130


def guarded(function: Callable[..., Any], *, debug: bool) -> Callable[..., Any]:
    """The command with its endings.

    Args:
        function: a command.
        debug: let errors of the input through with their traceback.
    """

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return function(*arguments, **options)
        except KeyboardInterrupt:
            say("Stopped by Ctrl-C.", style="yellow")
            raise typer.Exit(STOPPED) from None
        except (ValueError, OSError) as error:
            if debug:
                raise
            say(f"Error: {error}", style="bold red")
            say("(mvplm --debug ... shows where it happened)", style="dim")
            raise typer.Exit(WRONG_INPUT) from None

    return run


def say(text: str, *, style: str = "") -> None:
    """Print a line to standard error, as it is: nothing in it is read as markup or as an emoji."""
    from rich.console import Console

    Console(stderr=True).print(text, style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)
