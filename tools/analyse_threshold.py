"""How the threshold for "nothing fits" trades no-target against target accuracy. Choose it on data you do not report.

Example:
    python tools/analyse_threshold.py --weights mvplm-tiny-scenes --dataset scenes/train seed=99 --limit 200
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

THRESHOLDS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.91, 0.92, 0.93, 0.95, 0.97, 0.98, 0.99)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="shipped name or model directory")
    parser.add_argument("--dataset", default="scenes/train", help="name in the catalog")
    parser.add_argument("--limit", type=int, default=200, help="records to look at")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--mode", choices=("caption", "skip"), help="the model's own when left out")
    parser.add_argument("options", nargs="*", metavar="key=value", help="options of the dataset")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row per threshold: N-acc, T-acc and gIoU over all expressions."""
    from rich.progress import track

    from mvplm import load
    from mvplm.data.catalog import get_dataset
    from mvplm.data.evaluation import evaluation_batches
    from mvplm.data.options import parse_options
    from mvplm.evaluation import make_evaluator

    given = build_parser().parse_args(arguments)
    options = {"role": "referring", "num": given.limit} if given.dataset.startswith("scenes/") else {}
    dataset = get_dataset(given.dataset, **{**options, **parse_options(given.options)})
    perceiver = load(given.weights)
    evaluators = {threshold: make_evaluator("referring") for threshold in THRESHOLDS}
    batches = evaluation_batches(
        dataset,
        perceiver.mapper("referring", given.mode),
        batch_size=given.batch_size,
        collate=perceiver.collate,
        limit=given.limit,
    )
    for batch in track(batches, description="looking"):
        looked = perceiver.look(batch.batch, mode=given.mode)
        once = {task: perceiver.answer(looked, task=task) for task in ("res", "rec")}
        for threshold, evaluator in evaluators.items():
            settings = replace(perceiver.settings, gres_threshold=threshold)
            found = {**once, "gres": perceiver.answer(looked, task="gres", settings=settings)}
            for row, (record, place) in enumerate(zip(batch.records, batch.expressions, strict=True)):
                answers = {task: perceptions[row] for task, perceptions in found.items()}
                evaluator.update(record, answers, expression=record.expressions[place or 0])
    print("threshold  N-acc  T-acc   gIoU")
    for threshold, evaluator in evaluators.items():
        metrics = evaluator.compute()
        row = "  ".join(f"{metrics.get(f'grec/{name}', float('nan')):5.1f}" for name in ("N-acc", "T-acc", "gIoU"))
        print(f"{threshold:9.2f}  {row}")


if __name__ == "__main__":
    main()
