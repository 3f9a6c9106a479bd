"""``mvplm quickstart``: all kinds of question answered on fresh pictures, and a minute of training."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mvplm.cli.guard import STOPPED, say
from mvplm.cli.predict import DEFAULT_MODEL, summary

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver
    from mvplm.structures import Perception, Record
    from mvplm.visualize import Card

_LOOK_AT = 60
_NEXT = """What to do next
  mvplm predict photo.jpg --classes "red star,blue ring" --out results     ask about your own pictures
  mvplm data show scenes/train --tokens                                    see what a model is trained on
  mvplm train --config-file configs/quick/scenes.yaml                      train the shipped model yourself
  mvplm doctor                                                             see what this machine offers"""


@dataclass(frozen=True)
class Question:
    """One question of the tour: a title, the scene, and either names (with a task) or an expression."""

    title: str
    record: "Record"
    names: tuple[str, ...] = ()
    task: str | None = None
    expression: str | None = None
    boxes_only: bool = False


def quickstart(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the pictures and the report.")] = Path("quickstart"),
    model: Annotated[str, typer.Option(help="Shipped weights or a directory.")] = DEFAULT_MODEL,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other pictures.")] = 7,
    seconds: Annotated[int, typer.Option(min=0, help="How long to train; 0: not at all.")] = 60,
) -> None:
    """Answer every kind of question on fresh scenes, write pictures and report.html, train for a minute."""
    from mvplm.perceiver import load
    from mvplm.visualize import write_page, write_sheet

    started = time.perf_counter()
    perceiver = load(model)
    loaded = time.perf_counter() - started
    say(f"{model} loaded in {loaded:.1f} s", style="bold")
    out.mkdir(parents=True, exist_ok=True)
    cards = [
        _answer(perceiver, question, path=out / f"{number}_{question.title.lower().replace(' ', '_')}.png")
        for number, question in enumerate(questions(seed), start=1)
    ]
    lead = f"{model}, loaded in {loaded:.1f} s, asked about scenes it has never seen (seed {seed})."
    page = write_page(out / "report.html", "mvplm quickstart", lead=lead, cards=cards, closing=_NEXT)
    write_sheet(out / "overview.png", cards)
    say(f"{len(cards)} pictures, {out / 'overview.png'} and {page} written", style="green")
    if seconds:
        cards.append(_train(out, seconds))
        write_page(page, "mvplm quickstart", lead=lead, cards=cards, closing=_NEXT)
    say(f"\n{_NEXT}\n\nOpen {page} to see the answers.")


def questions(seed: int) -> Iterator[Question]:
    """The tour: names and sentences, boxes and masks, several targets, and a sentence that fits nothing."""
    from mvplm.data.scenes import SHAPE_VOCABULARY, SceneDataset

    scenes = SceneDataset("val", num=_LOOK_AT, seed=seed, role="all")
    yield Question("Names to masks", scenes[0], names=SHAPE_VOCABULARY.names, task="panoptic")
    yield Question("Names to outlines of things", scenes[1], names=_things(scenes[1]), task="instance")
    named = SceneDataset("val", num=_LOOK_AT, seed=seed, role="detection")[2]
    yield Question("Names to boxes", named, names=_things(named), task="detection")
    titles = {
        "attribute": "A sentence to a mask",
        "relation": "A sentence to a box",
        "multiple": "A sentence with several targets",
        "none": "A sentence that fits nothing",
    }
    for place, (kind, title) in enumerate(titles.items(), start=3):
        record, text = _find(scenes, kind, start=place)
        yield Question(title, record, expression=text, boxes_only=kind == "relation")


def _things(record: "Record") -> tuple[str, ...]:
    """Names of the things of a scene, each once, in the order of its vocabulary."""
    assert record.vocabulary is not None
    present = {a.label for a in record.annotations if a.isthing and a.label is not None}
    return tuple(record.vocabulary.names[label] for label in sorted(present))


def _find(scenes: "Sequence[Record]", kind: str, *, start: int) -> "tuple[Record, str]":
    for index in range(start, len(scenes)):
        record = scenes[index]
        for expression in record.expressions:
            if expression.kind == kind:
                return record, expression.text
    raise AssertionError(f"no scene has an expression of the kind {kind!r}")


def _answer(perceiver: "Perceiver", question: Question, *, path: Path) -> "Card":
    from mvplm.visualize import Card

    started = time.perf_counter()
    if question.expression is not None:
        answer = perceiver.predict(question.record.image, text=question.expression)
    else:
        answer = perceiver.predict(question.record.image, classes=question.names, task=question.task)
    took = time.perf_counter() - started
    if question.boxes_only and answer.instances is not None:
        answer = replace(answer, instances=replace(answer.instances, masks=None))
    answer.plot(path)
    asked = question.expression or ", ".join(question.names)
    say(f"{question.title}: {asked[:60]} -> {summary(answer)} ({took:.2f} s)")
    return Card(question.title, path, text=asked, facts=_facts(answer, took))


def _facts(answer: "Perception", took: float) -> dict[str, str]:
    facts = {"answer": summary(answer), "seconds": f"{took:.2f}"}
    if answer.instances is not None and len(answer.instances):
        best = zip(answer.instances.labels[:6], answer.instances.scores[:6].tolist(), strict=True)
        facts["scores"] = ", ".join(f"{label} {score:.2f}" for label, score in best)
    if answer.presence is not None:
        facts["something fits"] = f"{answer.presence:.2f}"
    if answer.caption:
        facts["the model's words"] = answer.caption
    return facts


def _train(out: Path, seconds: int) -> "Card":
    """Train a fresh tiny model for a while and tell how far the loss fell."""
    from mvplm.config import load_config
    from mvplm.runs import run_training
    from mvplm.visualize import Card
    from mvplm.visualize.curves import read_metrics_log

    folder = out / "training"
    source = "{dataset: scenes/train, options: {role: panoptic, num: 2000}, task: panoptic, batch_size: 8}"
    config = load_config(
        None,
        [
            "model.preset=mvplm-tiny",
            f"data.sources.panoptic={source}",
            "loss.num_points=1024",
            "match.num_points=1024",
            "optim.lr=1e-3",
            "train.steps=400",
            "train.log_every=5",
            f"train.time_limit={seconds}",
        ],
    )
    config = replace(config, train=replace(config.train, output=str(folder)))
    say(f"\nTraining a fresh model for {seconds} s, to show that the loss falls", style="bold")
    ended = run_training(config, overwrite=True)
    if ended.interrupted is not None:
        say("Stopped by Ctrl-C.", style="yellow")
        raise typer.Exit(STOPPED)
    losses = [row["loss"] for row in read_metrics_log(folder / "metrics.jsonl") if row.get("kind") == "train"]
    fell = f"from {losses[0]:.1f} to {losses[-1]:.1f}" if losses else "too few steps to tell"
    say(f"{ended.step} steps; loss {fell}", style="green")
    facts = {"steps": str(ended.step), "seconds": f"{ended.seconds:.0f}", "loss": fell}
    return Card("Training", folder / "curves.png", text="A fresh model, trained while you waited.", facts=facts)


COMMANDS = {"quickstart": (quickstart, "mvplm quickstart --out quickstart")}
