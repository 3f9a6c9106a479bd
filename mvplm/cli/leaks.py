"""``mvplm data leaks``: pictures that stand in two data sets."""

from pathlib import Path
from typing import Annotated

import typer

from mvplm.cli.guard import say

_SHOWN = 10


def leaks(
    names: Annotated[list[str], typer.Argument(help="Two or more names in the catalog.", show_default=False)],
    *,
    root: Annotated[
        Path | None, typer.Option(help="Folder of data sets; default: MVPLM_DATASETS, else ./datasets.")
    ] = None,
) -> None:
    """Print how many pictures every two data sets share; exit code 1 when some are shared."""
    from mvplm.data.catalog import get_dataset
    from mvplm.data.leaks import find_leaks

    shared = 0
    for overlap in find_leaks({name: get_dataset(name, root=root) for name in names}):
        shared += len(overlap.keys)
        more = len(overlap.keys) - _SHOWN
        examples = ", ".join(overlap.keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        typer.echo(
            f"{overlap.first} and {overlap.second}: {len(overlap.keys)} pictures in both"
            + (f" ({examples})" if overlap.keys else "")
        )
    say("no leaks" if not shared else "there are leaks", style="green" if not shared else "bold red")
    if shared:
        raise typer.Exit(1)
