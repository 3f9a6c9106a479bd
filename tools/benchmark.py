"""How long loading and answering take here.

Example: python tools/benchmark.py --model mvplm-tiny-scenes --images 16
"""

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mvplm-tiny-scenes", help="shipped weights or a directory")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=8)
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Load, answer, print a table of seconds."""
    from rich.console import Console
    from rich.table import Table

    from mvplm.data.scenes import SHAPE_VOCABULARY, SceneDataset
    from mvplm.perceiver import load

    arguments = build_parser().parse_args(given)
    started = time.perf_counter()
    try:
        perceiver = load(arguments.model)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    loading = time.perf_counter() - started
    images = [record.image for record in SceneDataset("val", num=arguments.images, seed=5)[:]]
    names = list(SHAPE_VOCABULARY.names)
    answer = partial(perceiver.predict, images, batch_size=arguments.batch_size)
    tasks = ("panoptic", "instance", "detection", "semantic")
    asked = {task: partial(answer, classes=names, task=task) for task in tasks}
    asked["referring"] = partial(answer, text="the largest star")
    table = Table("what", "seconds", "per image", title=f"{arguments.model} on {perceiver.device}")
    table.add_row("load", f"{loading:.2f}", "")
    for name, ask in asked.items():
        ask()
        started = time.perf_counter()
        ask()
        took = time.perf_counter() - started
        table.add_row(name, f"{took:.2f}", f"{took / len(images):.3f}")
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
