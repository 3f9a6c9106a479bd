"""One training step of the shipped small model, with the kernel of deformable attention against plain PyTorch.

Forward, losses with matching, backward, optimiser, as configs/quick/scenes.yaml says, on a word list and on a sentence
per picture. Both start from the same weights and see the same batches; the data is made before. Another checkout of the
project can take part.

Example: python tools/benchmark.py train_step --against ../older
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from measuring import Row, interleave
from training_steps import OtherCheckout, TrainingSteps, first_batches, scenes_config, trainers_kernels

SOURCES = {"panoptic": "panoptic", "referring": "sentence"}
WARMUPS = 2
PLAIN = "plain PyTorch"


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many steps, and another checkout."""
    parser.add_argument("--repeats", type=int, default=15, help="timed steps of each")
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, whose steps take turns too")


def walk(steps: TrainingSteps, batches: Sequence[object]) -> Iterator[float]:
    """A step per batch; yields the losses."""
    return (steps.step(batch, factor=0.1) for batch in batches)


def compare(source: str, *, repeats: int, against: Path | None = None, overrides: Sequence[str] = ()) -> list[Row]:
    """Seconds of a step, ratios, and the difference of the first losses, for the batches of one source.

    Raises:
        ValueError: ``against`` is no checkout of the project.
    """
    from mvplm.build import build_tokenizer
    from mvplm.models.ops.backends import live_backend

    config = scenes_config(source, overrides=overrides)
    tokenizer = build_tokenizer(config)
    count = WARMUPS + repeats
    batches = first_batches(config, tokenizer, count=count)
    ours, plain = (TrainingSteps(config, tokenizer, backend=name) for name in ("auto", "reference"))
    contenders: dict[str, Callable[[], float]] = {
        "mvplm": partial(next, walk(ours, batches)),
        PLAIN: partial(next, walk(plain, batches)),
    }
    with ExitStack() as stack:
        stack.enter_context(trainers_kernels())
        if against is not None:
            other = stack.enter_context(OtherCheckout(against, source, count=count, overrides=overrides))
            contenders[str(against)] = other.step
        seconds = interleave(contenders, repeats=repeats, warmups=WARMUPS)
    pixel = config.model.pixel_decoder
    kernel = live_backend(dim=pixel.width // pixel.heads, levels=pixel.levels, points=pixel.points).name
    how = f"{len(batches[0])} rows, {config.image.size} px, {config.train.precision}, "
    how += f"{torch.get_num_threads()} threads, median of {repeats} in turns"
    name = SOURCES[source]
    kinds = {"mvplm": f"{kernel}, "}
    rows = [Row(f"{name}: {who}", time, "s", detail=kinds.get(who, "") + how) for who, time in seconds.items()]
    for who in list(seconds)[1:]:
        bar = ">= 1.5" if who == PLAIN else ""
        rows.append(Row(f"{name}: times faster than {who}", seconds[who] / seconds["mvplm"], "x", bar))
    difference = abs(ours.losses[0] - plain.losses[0]) / abs(plain.losses[0])
    rows.append(Row(f"{name}: difference of the first loss", difference, "", "<= 1e-3", "relative, mvplm and " + PLAIN))
    return rows


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Rows of :func:`compare` for both kinds of question.

    Raises:
        ValueError: ``--against`` is no checkout of the project.
    """
    rows = []
    for source in SOURCES:
        overrides = [f"data.sources.{source}.batch_size=2"] if arguments.quick else []
        repeats = 2 if arguments.quick else arguments.repeats
        rows += compare(source, repeats=repeats, against=arguments.against, overrides=overrides)
    if not arguments.quick:
        return rows
    return [Row(row.name, row.value, row.unit, "" if row.unit == "x" else row.bar, row.detail) for row in rows]
