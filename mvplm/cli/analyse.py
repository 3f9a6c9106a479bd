"""``mvplm analyse``: one page about a result, with its pictures, confusions and curves."""

from pathlib import Path
from typing import Annotated

import typer

from mvplm.cli.guard import say


def analyse(
    results: Annotated[Path, typer.Argument(help="The --out folder of mvplm evaluate.", show_default=False)],
    *,
    out: Annotated[Path | None, typer.Option(help="Folder for analysis.html; default: RESULTS.")] = None,
    images: Annotated[int, typer.Option(min=0, help="So many of the worst and of the best pictures of each set.")] = 8,
) -> None:
    """Write a page with worst and best pictures, confusions, calibration, curves and tables of a result."""
    from mvplm.analysis import analyse_results
    from mvplm.cli.progress import late_bar

    say(f"Written: {analyse_results(results, out=out, images=images, progress=late_bar)}", style="green")


COMMANDS = {"analyse": (analyse, "mvplm analyse outputs/evaluation --images 12")}
