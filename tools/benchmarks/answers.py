"""Loading a model and answering questions about fresh scenes.

Example: python tools/benchmark.py answers --model mvplm-tiny-scenes --images 16
"""

import argparse
import time
from functools import partial

from measuring import Row


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which model and how many pictures."""
    parser.add_argument("--model", default="mvplm-tiny-scenes", help="shipped weights or a directory")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds of loading, and of each task per image after a first round.

    Raises:
        ValueError: for an unknown model.
    """
    from mvplm.data.scenes import SHAPE_VOCABULARY, SceneDataset
    from mvplm.perceiver import load

    started = time.perf_counter()
    perceiver = load(arguments.model)
    where = f"{arguments.model} on {perceiver.device}"
    rows = [Row("load", time.perf_counter() - started, "s", detail=where)]
    count = 2 if arguments.quick else arguments.images
    images = [record.image for record in SceneDataset("val", num=count, seed=5)[:]]
    names = list(SHAPE_VOCABULARY.names)
    answer = partial(perceiver.predict, images, batch_size=arguments.batch_size)
    tasks = ("panoptic", "instance", "detection", "semantic")
    asked = {task: partial(answer, classes=names, task=task) for task in tasks}
    asked["referring"] = partial(answer, text="the largest star")
    for name, ask in asked.items():
        ask()
        started = time.perf_counter()
        ask()
        took = (time.perf_counter() - started) / len(images)
        rows.append(Row(name, took, "s", detail=f"per image, {count} images, batches of {arguments.batch_size}"))
    return rows
