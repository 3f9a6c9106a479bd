"""Memory that evaluation keeps while pictures pass, and its share of the time beside inference.

Memory: drawn answers about pictures of 640 x 480 go through a metric or writer in a process of its own; what counts is
by how much its largest resident size grows after the first 100, results, intervals and tables included. Time: one
evaluation of coco_mini's pictures with the shipped tiny model, what is spent on measuring and writing over what is
spent on answering.

Example: python tools/benchmark.py evaluation --pictures 5000 --shared ../shared/data
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measuring import Row

PARTS = ("panoptic", "semantic", "instance", "referring", "writers", "all")
WARM, MODEL = 100, "mvplm-tiny-scenes"
_PROGRAM = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("evaluation_benchmark", {file!r})
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
spec.loader.exec_module(module)
print(module.growth({part!r}, {count}, warm={warm}))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many pictures, and where the photos lie."""
    parser.add_argument("--pictures", type=int, default=5000, help="drawn ones, for memory")
    parser.add_argument("--parts", default=",".join(PARTS), help="which memory to measure; empty for none")
    parser.add_argument("--shared", type=Path, help="folder of coco_mini; without it time is not measured")
    parser.add_argument("--photos", type=int, default=0, help="only the first so many photos; 0: all")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """MiB by part, and the share of the time."""
    count, warm = (30, 10) if arguments.quick else (arguments.pictures, WARM)
    if count <= warm:
        raise ValueError(f"--pictures must be above {warm}, got {count}")
    names = [name for name in arguments.parts.split(",") if name]
    if unknown := set(names) - set(PARTS):
        raise ValueError(f"--parts has {sorted(unknown)[0]!r}; there are {', '.join(PARTS)}")
    rows = [_memory(name, count=count, warm=warm, quick=arguments.quick) for name in names]
    return [*rows, _share(arguments)]


def _memory(part: str, *, count: int, warm: int, quick: bool) -> Row:
    folder = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])}
    program = _PROGRAM.format(file=__file__, part=part, count=count, warm=warm)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"measuring {part} failed: {done.stderr.strip().splitlines()[-1]}")
    detail = f"growth of the largest resident size after {warm} of {count} pictures, to the end"
    bar = "<= 200" if part == "all" and not quick else ""
    return Row(f"memory: {part}", float(done.stdout.split()[-1]), "MiB", bar, detail)


def growth(part: str, count: int, *, warm: int = WARM) -> float:
    """MiB by which the largest resident size of this process grows after the first ``warm`` of ``count`` pictures."""
    import resource

    from drawn_answers import DrawnAnswers

    with tempfile.TemporaryDirectory() as folder:
        drawn = DrawnAnswers(part, Path(folder))
        with drawn:
            for index in range(warm):
                drawn.update(index)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for index in range(warm, count):
                drawn.update(index)
            drawn.finish()
            return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


class _Watch:
    """Seconds spent inside some functions."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def _share(arguments: argparse.Namespace) -> Row:
    name = "time of evaluation over inference"
    if arguments.shared is None:
        return Row(name, None, "%", "<= 10", "no --shared")
    import mvplm
    from mvplm.config import Config, EvalSetConfig
    from mvplm.evaluation import make_evaluator
    from mvplm.measuring import sets
    from mvplm.measuring.saved_predictions import PredictionSaver

    measuring, answering = _Watch(), _Watch()
    perceiver: Any = mvplm.load(MODEL, device="cpu")
    perceiver.look, perceiver.answer = answering.around(perceiver.look), answering.around(perceiver.answer)

    def watched(*given: Any, **named: Any) -> Any:
        evaluator: Any = make_evaluator(*given, **named)
        evaluator.update, evaluator.compute = measuring.around(evaluator.update), measuring.around(evaluator.compute)
        return evaluator

    config = Config()
    options = {"root": str(arguments.shared)}
    config.eval.sets = {task: EvalSetConfig("coco_mini/val", options, task) for task in ("panoptic", "instance")}
    limit = 2 if arguments.quick else arguments.photos
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(sets, "make_evaluator", watched),
        patch.object(PredictionSaver, "write", measuring.around(PredictionSaver.write)),
        patch.object(PredictionSaver, "__exit__", measuring.around(PredictionSaver.__exit__)),
    ):
        found = sets.evaluate_sets(perceiver, config, limit=limit, predictions=Path(folder))
    pictures = found["panoptic"].counts["images"]
    detail = (
        f"{MODEL}, {pictures} pictures, panoptic and instance: {measuring.seconds:.2f} s of measuring and writing, "
        f"{answering.seconds:.2f} s of answering"
    )
    return Row(name, 100 * measuring.seconds / answering.seconds, "%", "" if arguments.quick else "<= 10", detail)
