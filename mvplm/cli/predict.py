"""``mvplm predict``: pictures in, pictures and JSON out."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mvplm.cli.guard import say

DEFAULT_MODEL = "mvplm-tiny-scenes"


def predict(
    images: Annotated[list[Path], typer.Argument(help="Pictures.", show_default=False)],
    *,
    classes: Annotated[str | None, typer.Option(help="Names to look for, separated by commas.")] = None,
    text: Annotated[str | None, typer.Option(help="A sentence that says what to look for.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="panoptic, semantic, instance (default for names), detection, grounding or referring; models that "
            "write masks also take a kind of question: ground, reason.multi, vqa ..."
        ),
    ] = None,
    stuff: Annotated[str | None, typer.Option(help="Which of the names are stuff (sky, grass).")] = None,
    model: Annotated[str, typer.Option(help="Shipped weights, a directory, or a Hub id.")] = DEFAULT_MODEL,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...")] = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs/predict"),
) -> None:
    """Find what names or a sentence ask for; writes OUT/NAME.png and OUT/NAME.json for every picture."""
    if (classes is None) == (text is None):
        raise ValueError("give either --classes dog,sofa or --text 'the dog left of the sofa'")
    if missing := [str(path) for path in images if not path.is_file()]:
        raise FileNotFoundError(f"no such picture: {', '.join(missing)}")
    question: dict[str, Any] = {"text": text} if classes is None else {"classes": _names(classes)}
    if stuff is not None:
        question["stuff"] = _names(stuff)

    from mvplm.perceiver import load

    perceiver = load(model, device=device)
    out.mkdir(parents=True, exist_ok=True)
    stems = iter(_stems(images))
    size = perceiver.config.infer.batch_size
    for start in range(0, len(images), size):
        answers = perceiver.predict(images[start : start + size], task=task, batch_size=size, **question)
        for answer in answers:
            stem = next(stems)
            answer.plot(out / f"{stem}.png")
            _write_json(out / f"{stem}.json", answer.to_dict())
            say(f"{out / stem}.png  {summary(answer)}")


def summary(answer: Any) -> str:
    """One line about a Perception: what was found, how often."""
    if answer.no_target:
        return "nothing fits"
    if answer.unparsed:
        return f"the answer cannot be read ({answer.written.status})"
    if answer.written is not None and answer.caption is not None:
        return str(answer.caption)
    if answer.panoptic is not None:
        labels = [segment.label for segment in answer.panoptic.segments]
    elif answer.instances is not None:
        shown = zip(answer.instances.labels, answer.instances.scores.tolist(), strict=True)
        labels = [label for label, score in shown if score >= answer.display_score]
    elif answer.semantic is not None:
        present = set(answer.semantic.class_map.flatten().tolist())
        labels = [label for index, label in enumerate(answer.semantic.labels) if index in present]
    else:
        labels = []
    counts = {label: labels.count(label) for label in labels}
    return (
        ", ".join(label if n == 1 else f"{n} x {label}" for label, n in counts.items())
        or f"nothing above {answer.display_score:g}"
    )


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _stems(images: Sequence[Path]) -> Iterator[str]:
    """A name per picture; pictures of the same name in different folders get a number."""
    seen: dict[str, int] = {}
    for path in images:
        seen[path.stem] = seen.get(path.stem, 0) + 1
        yield path.stem if seen[path.stem] == 1 else f"{path.stem}_{seen[path.stem]}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


COMMANDS = {
    "predict": (predict, "mvplm predict photo.jpg --classes dog,sofa,wall --task panoptic --stuff wall --out results")
}
