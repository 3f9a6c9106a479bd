"""``mvplm evaluate``: the metrics of a model, or of predictions in files, as a table and as JSON."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mvplm.cli.guard import say


def evaluate(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="Settings that win over the file: dotted.key=value. With --predictions: options of the data set.",
            show_default=False,
        ),
    ] = None,
    *,
    config_file: Annotated[
        Path | None, typer.Option("--config-file", help="YAML file with the evaluations under 'eval'.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Shipped weights or a directory; default: the newest of the run.")
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="Score this file: COCO results, panoptic JSON, semantic RLEs or answers to expressions."),
    ] = None,
    data: Annotated[str, typer.Option(help="With --predictions: name in the catalog, or a COCO folder.")] = "",
    metrics: Annotated[
        str, typer.Option(help="With --predictions: of panoptic,semantic,detection,referring. Default: all that fit.")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="With --predictions: how expressions are counted, a preset. Default: per_sentence.")
    ] = "",
    workers: Annotated[int, typer.Option(min=1, help="With --predictions: processes.")] = 1,
    limit: Annotated[int, typer.Option(min=0, help="Only so many records of each set; 0: all.")] = 0,
    pictures: Annotated[int, typer.Option(min=0, help="So many answers of each set, drawn in OUT/report.html.")] = 0,
    save_predictions: Annotated[
        bool, typer.Option(help="With --config-file: write the answers that were scored to OUT/predictions.")
    ] = True,
    intervals: Annotated[bool, typer.Option(help="Also give 95 % confidence intervals.")] = True,
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and tables.json.", show_default=False)],
) -> None:
    """Measure a model on the sets of a config file, or score predictions; writes metrics.json and tables.json.

    With --suite NAME: whole suites of benchmarks (paper, open_vocabulary, referring, all) and their tables; see mvplm
    evaluate --suite list and mvplm evaluate --suite NAME --help.
    """
    if predictions:
        if config_file or weights or pictures or not data:
            raise ValueError("--predictions goes with --data, and without --config-file, --weights and --pictures")
        how = {"metrics": metrics, "protocol": protocol or "per_sentence", "workers": workers, "intervals": intervals}
        _score(predictions, data, options=overrides or [], limit=limit, out=out, **how)
    elif config_file is None or data or metrics or protocol:
        raise ValueError("evaluate needs --config-file, or --predictions with --data (and --metrics, --protocol)")
    else:
        more = {"pictures": pictures, "save_predictions": save_predictions, "intervals": intervals}
        _measure(config_file, overrides or [], weights=weights, limit=limit, out=out, **more)
    written = [out / "metrics.json", out / "tables.json", *([out / "report.html"] if pictures else [])]
    say(f"Written: {', '.join(map(str, written))}", style="green")


def _measure(
    config_file: Path, overrides: list[str], *, weights: str | None, limit: int, out: Path, **more: Any
) -> None:
    from mvplm.measuring.config import evaluation_config

    config = evaluation_config(config_file, overrides, weights=weights)

    from mvplm.engine import leave_processes
    from mvplm.runs import run_evaluation

    run_evaluation(config, weights=weights, limit=limit, out=out, **more)
    leave_processes()


def _score(
    files: list[Path], data: str, *, metrics: str, options: list[str], limit: int, out: Path, **more: Any
) -> None:
    from mvplm.data.options import parse_options
    from mvplm.measuring.scoring import ScoredData, score_predictions

    names = [name.strip() for name in metrics.split(",") if name.strip()]
    truth = ScoredData(data, parse_options(options), limit)
    score_predictions(files, truth, metrics=names, out=out, **more)


COMMANDS = {
    "evaluate": (evaluate, "mvplm evaluate --config-file configs/quick/scenes.yaml --pictures 4 --out outputs/eval")
}
