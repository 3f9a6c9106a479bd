"""Four pictures in one batch against four batches of one, with the shipped small model.

Example: python tools/benchmark.py batch
"""

import argparse
from functools import partial

import torch
from measuring import Row, interleave


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model."""
    parser.add_argument("--model", default="mvplm-tiny-scenes", help="shipped weights or a directory")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds per task and the ratio of throughputs.

    Raises:
        ValueError: for an unknown model.
    """
    from mvplm.data.scenes import SHAPE_VOCABULARY, SceneDataset
    from mvplm.perceiver import load

    perceiver = load(arguments.model)
    images = [record.image for record in SceneDataset("val", num=4, seed=5)[:]]
    asked = {
        "panoptic": {"classes": list(SHAPE_VOCABULARY.names), "task": "panoptic", "mode": "skip"},
        "referring": {"text": "the largest star", "mode": "skip"},
        "referring with caption": {"text": "the largest star", "mode": "caption"},
    }
    repeats = 3 if arguments.quick else 9
    rows = []
    for name, question in asked.items():
        contenders = {size: partial(perceiver.predict, images, batch_size=size, **question) for size in (4, 1)}
        seconds = interleave({f"batch {size}": run for size, run in contenders.items()}, repeats=repeats, warmups=2)
        how = f"4 pictures, {torch.get_num_threads()} threads, median of {repeats} in turns"
        rows += [Row(f"{name}: {who}", time, "s", detail=how) for who, time in seconds.items()]
        bar = "" if arguments.quick else ">= 1.5"
        rows.append(Row(f"{name}: throughput", seconds["batch 1"] / seconds["batch 4"], "x", bar, "batch 4 / batch 1"))
    return rows
