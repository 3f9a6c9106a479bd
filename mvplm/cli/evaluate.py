"""``mvplm evaluate``: the metrics of a model, as a table and as JSON."""

from pathlib import Path
from typing import Annotated

import typer

from mvplm.cli.guard import say


def evaluate(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that win over the file: dotted.key=value.", show_default=False)
    ] = None,
    *,
    config_file: Annotated[Path, typer.Option("--config-file", help="YAML file with the evaluations under 'eval'.")],
    weights: Annotated[
        str | None, typer.Option(help="Shipped weights or a directory; default: the newest of the run.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only so many records of each set; 0: all.")] = 0,
    pictures: Annotated[int, typer.Option(min=0, help="So many answers of each set, drawn in OUT/report.html.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json.", show_default=False)],
) -> None:
    """Measure a model on the sets of a config file; writes OUT/metrics.json, and pictures on request."""
    from mvplm.config import load_config

    config = load_config(config_file, overrides or [])

    from mvplm.engine import leave_processes
    from mvplm.runs import run_evaluation

    run_evaluation(config, weights=weights, limit=limit, out=out, pictures=pictures)
    leave_processes()
    written = [out / "metrics.json", *([out / "report.html"] if pictures else [])]
    say(f"Written: {', '.join(map(str, written))}", style="green")


COMMANDS = {
    "evaluate": (evaluate, "mvplm evaluate --config-file configs/quick/scenes.yaml --pictures 4 --out outputs/eval")
}
