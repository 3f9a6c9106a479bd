"""What our small model and transformers' Mask2Former of the same size learn of the drawn scenes in the same time.

Both start from random weights and train on the same panoptic scenes in the same order and batches, with AdamW, a
warm-up and a cosine over the time. They take turns of some seconds, so that whatever else the machine does meets both;
drawing the scenes counts, scoring does not. Afterwards both answer about the same new scenes and are scored alike.

Example: python tools/benchmark.py learn --minutes 15 --curves learning.png
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from mask2former_training import Mask2FormerSteps
from measuring import Row
from training_steps import TrainingSteps, scenes_config

if TYPE_CHECKING:
    from rich.progress import Progress

    from mvplm.config import Config

OURS, THEIRS = "mvplm", "Mask2Former"
QUALITIES = ("PQ", "PQ_th", "PQ_st")
# Perceptrons with wide inputs learn more gently, as in configs/quick/ablations.
_GENTLE = "optim.lr_scales={query.: 0.2, text.: 0.2, decoder.ref_point_head.: 0.2}"
_NO_OTHER_SETS = tuple(f"eval.sets.{name}=null" for name in ("instance", "referring", "heldout"))
_WARMUP_RATIO = 0.03


def add_options(parser: argparse.ArgumentParser) -> None:
    """How long, how often in turns, and the rates."""
    parser.add_argument("--minutes", type=float, default=15.0, help="training time of each (with --quick 0.2)")
    parser.add_argument("--turn", type=float, default=30.0, metavar="SECONDS", help="length of a turn")
    parser.add_argument("--limit", type=int, default=200, help="scenes that are scored (with --quick 4)")
    parser.add_argument("--scores", type=int, default=5, help="how often each is scored, the end included")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak rate of ours")
    parser.add_argument("--peer-lr", type=float, default=5e-4, help="peak rate of Mask2Former")
    parser.add_argument("--curves", type=Path, metavar="FILE", help="draw quality and loss over the minutes there")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of ours")


@dataclass
class Learner:
    """A model on its way.

    Attributes:
        name: of the model. step: takes the next batch at a factor of the peak rate, gives the loss.
        score: takes a number of scenes, gives the qualities on them in percent. parameters: numbers of them by
            what is counted.
        seconds: spent so far. losses: (seconds, loss) of every step. scores: (seconds, qualities).
    """

    name: str
    step: Callable[[float], float]
    score: Callable[[int], dict[str, float]]
    parameters: dict[str, int]
    seconds: float = 0.0
    losses: list[tuple[float, float]] = field(default_factory=list)
    scores: list[tuple[float, dict[str, float]]] = field(default_factory=list)


def take_turns(
    learners: Sequence[Learner],
    *,
    budget: float,
    turn: float,
    factor: Callable[[float], float],
    after_step: Callable[[], None] = lambda: None,
    after_turn: Callable[[Learner], None] = lambda _: None,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Let every learner train for ``budget`` seconds, ``turn`` seconds at a time.

    Args:
        learners: they are changed. budget, turn: seconds. factor: share of the peak rate after a share of the budget.
        after_step, after_turn: called without the time counting; the latter with the learner. clock: seconds.
    """
    while any(learner.seconds < budget for learner in learners):
        for learner in learners:
            end = min(learner.seconds + turn, budget)
            if learner.seconds >= end:
                continue
            while learner.seconds < end:
                started = clock()
                loss = learner.step(factor(learner.seconds / budget))
                learner.seconds += clock() - started
                learner.losses.append((learner.seconds, loss))
                after_step()
            after_turn(learner)


def our_learner(config: "Config") -> Learner:
    """Our model on the training scenes of a configuration."""
    from mvplm.build import build_postprocess, build_tokenizer
    from mvplm.build_training import build_mixture
    from mvplm.perceiver import Perceiver
    from mvplm.runs import evaluate_perceiver

    tokenizer = build_tokenizer(config)
    steps = TrainingSteps(config, tokenizer)
    batches = build_mixture(config, tokenizer).batches(0)

    def score(limit: int) -> dict[str, float]:
        perceiver = Perceiver(steps.model, tokenizer, config=config, settings=build_postprocess(config))
        found = evaluate_perceiver(perceiver, config, limit=limit)
        steps.model.train()
        return {name: found[f"panoptic/{name}"] for name in QUALITIES}

    whole, language = _size(steps.model), _size(steps.model.llm)
    parameters = {"parameters": whole, "parameters without the language model": whole - language}
    return Learner(OURS, lambda factor: steps.step(next(batches)[1], factor=factor), score, parameters)


def their_learner(config: "Config", *, lr: float) -> Learner:
    """Mask2Former on the same scenes; of two ways of post-processing the better one counts at every score."""
    from mvplm.build import build_tokenizer
    from mvplm.build_training import build_mixture, open_records

    mixture = build_mixture(config, build_tokenizer(config)).mixture
    scenes = mixture.sources["panoptic"].dataset
    held_out = open_records(config, config.eval.sets["panoptic"])
    steps = Mask2FormerSteps(config, scenes[0].vocabulary, lr=lr, precision=config.train.precision)

    def step(factor: float) -> float:
        visits = mixture.batch_plan(len(steps.losses)).visits
        return steps.step([scenes[visit.index] for visit in visits], factor=factor)

    def score(limit: int) -> dict[str, float]:
        found = steps.score(held_out[:limit], batch_size=config.eval.batch_size, least_score=config.post.panoptic_score)
        best = max(found.values(), key=lambda qualities: qualities["PQ"])
        return {name: best[name] for name in QUALITIES}

    return Learner(THEIRS, step, score, {"parameters": _size(steps.model)})


def _size(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def scorer(*, budget: float, scores: int, limit: int) -> Callable[[Learner], None]:
    """What scores a learner after a turn when its next score is due; on the way a quarter of the scenes do."""

    def score(learner: Learner) -> None:
        due = budget * (len(learner.scores) + 1) / scores
        if learner.seconds >= min(due, budget):
            last = learner.seconds >= budget
            learner.scores.append((learner.seconds, learner.score(limit if last else max(1, limit // 4))))

    return score


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Train both, score both.

    Raises:
        ValueError: a wrong setting, or a number that is not positive.
    """
    from mvplm.engine import Schedule

    for name in ("minutes", "turn", "limit", "scores"):
        if getattr(arguments, name) <= 0:
            raise ValueError(f"--{name} must be positive, got {getattr(arguments, name)}")
    minutes, limit, scores = arguments.minutes, arguments.limit, arguments.scores
    if arguments.quick:
        minutes, limit, scores = min(minutes, 0.2), min(limit, 4), 1
    overrides = [f"optim.lr={arguments.lr}", _GENTLE, *_NO_OTHER_SETS, *arguments.overrides]
    config = scenes_config("panoptic", overrides=overrides)
    learners = [our_learner(config), their_learner(config, lr=arguments.peer_lr)]
    for learner in learners:
        learner.step(0.0)  # at rate zero: compilers get ready
    # The schedule counts steps; here a step is a thousandth of the time.
    schedule, budget = Schedule(1000, _WARMUP_RATIO), 60 * minutes
    score = scorer(budget=budget, scores=scores, limit=limit)
    with _progress(2 * budget) as bar:

        def after_turn(learner: Learner) -> None:
            bar.stop()  # scoring shows its own
            score(learner)
            bar.start()

        take_turns(
            learners,
            budget=budget,
            turn=min(arguments.turn, budget / 2),
            factor=lambda share: schedule.factor(1000 * share),
            after_step=lambda: bar.update(bar.task_ids[0], completed=sum(learner.seconds for learner in learners)),
            after_turn=after_turn,
        )
    if arguments.curves:
        write_curves(learners, arguments.curves)
    return rows_of(learners, config=config, limit=limit, judged=not arguments.quick)


@contextmanager
def _progress(seconds: float) -> Iterator["Progress"]:
    """A bar of training seconds on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("training in turns"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task("", total=seconds)
        yield progress


def rows_of(learners: Sequence[Learner], *, config: "Config", limit: int, judged: bool) -> list[Row]:
    """Qualities, steps and sizes of ours and theirs, and the difference of the qualities.

    Args:
        learners: ours and theirs, scored. config: of ours. limit: scenes that were scored. judged: with a bar.
    """
    ours, theirs = learners
    difference = ours.scores[-1][1]["PQ"] - theirs.scores[-1][1]["PQ"]
    rows = [Row(f"PQ {OURS} - {THEIRS}", difference, "%", ">= 0.01" if judged else "", f"{limit} scenes")]
    for learner in learners:
        how = "one post-processing" if learner is ours else "the better of transformers' post-processing and ours"
        rows += [
            Row(f"{learner.name}: {name}", value, "%", detail=how) for name, value in learner.scores[-1][1].items()
        ]
    how = f"of {config.data.sources['panoptic'].batch_size} scenes, {config.image.size} px, {config.train.precision}, "
    how += f"{torch.get_num_threads()} threads, in turns"
    for learner in learners:
        took = f"in {learner.seconds / 60:.1f} minutes, {how}"
        rows.append(Row(f"{learner.name}: steps", len(learner.losses), "steps", detail=took))
    for learner in learners:
        rows += [Row(f"{learner.name}: {what}", count / 1e6, "M") for what, count in learner.parameters.items()]
    return rows


def write_curves(learners: Sequence[Learner], file: Path) -> None:
    """A picture of quality and loss over the minutes; the numbers lie beside it as JSON."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    quality, loss = figure.subplots(1, 2)
    for learner in learners:
        times, values = zip(*[(seconds / 60, found["PQ"]) for seconds, found in learner.scores], strict=True)
        quality.plot(times, values, marker="o", label=learner.name)
        groups = [learner.losses[start : start + 10] for start in range(0, len(learner.losses), 10)]
        middles = [(group[-1][0] / 60, statistics.median(value for _, value in group)) for group in groups]
        loss.plot(*zip(*middles, strict=True), label=learner.name)
    quality.set(xlabel="minutes of training", ylabel="PQ (%)")
    loss.set(xlabel="minutes of training", ylabel="loss (each a sum of its own), medians of 10", yscale="log")
    quality.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
    points = {learner.name: {"losses": learner.losses, "scores": learner.scores} for learner in learners}
    file.with_suffix(".json").write_text(json.dumps(points) + "\n", encoding="utf-8")
