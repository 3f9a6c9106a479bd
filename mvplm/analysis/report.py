"""``analysis.html``: the numbers of a result, and the pictures and names behind them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path

from mvplm.analysis.drawing import draw_both
from mvplm.analysis.figures import confusion_section, detection_section, table_section
from mvplm.analysis.judged import PictureScores, confusion_of, matches_of, picture_scores
from mvplm.analysis.results import Results, ScoredSet, open_results
from mvplm.visualize import Card, Section, Sheet, write_sections

Progress = Callable[[int, str], AbstractContextManager[Callable[[int], None]]]
"""Takes the number of steps and what they are; gives a function that takes how many are done."""


def analyse_results(
    results: str | Path, *, out: str | Path | None = None, images: int = 8, progress: Progress | None = None
) -> Path:
    """Write ``OUT/analysis.html``, with its pictures in ``OUT/analysis/``.

    Args:
        results: directory with a ``metrics.json`` that names its predictions.
        out: directory; the one of the results when None.
        images: so many of the worst and of the best pictures of each set are drawn.
        progress: shows how far it is; nothing is shown when None.

    Returns:
        The page.

    Raises:
        ValueError, FileNotFoundError: see ``open_results``; also a picture that is not there.
    """
    opened = open_results(results)
    folder = Path(results if out is None else out)
    sections = [overview(opened)]
    steps = sum(len(scored) + 2 * min(images, len(scored)) for scored in opened.sets)
    with nullcontext(_silent) if progress is None else progress(steps, "analysis") as advance:
        done = count(1)
        for scored in opened.sets:
            counting = replace(scored, advance=lambda: advance(next(done)))
            sections += _set_sections(counting, folder / "analysis", images=images)
    lead = f"{Path(results)}: {', '.join(f'{scored.name} ({len(scored)} pictures)' for scored in opened.sets)}"
    return write_sections(folder / "analysis.html", "Analysis", lead=lead, sections=sections)


def _silent(done: int) -> None:
    """Shows nothing."""


def overview(results: Results) -> Section:
    """The metrics with their intervals, and how they were counted."""
    intervals = results.content.get("intervals", {})
    rows = [
        [name, value, "{:.1f} – {:.1f}".format(*intervals[name]) if name in intervals else None]
        for name, value in results.content["metrics"].items()
    ]
    protocol = {**results.content["protocol"], **{f"set {k}": v for k, v in results.content["data"]["sets"].items()}}
    counted = Sheet("Protocol", ("what", "how"), [[name, str(value)] for name, value in protocol.items()])
    return Section("Results", sheets=(Sheet("Metrics", ("metric", "%", "95 %"), rows), counted))


def _set_sections(scored: ScoredSet, folder: Path, *, images: int) -> list[Section]:
    matches = matches_of(scored)
    scores = picture_scores(scored, matches)
    sections = [_pictures(scored, scores, folder=folder, count=images, threshold=matches.threshold if matches else 0.0)]
    if (confusion := confusion_of(scored, matches)) is not None:
        sections.append(confusion_section(scored.name, confusion, folder=folder))
    if matches is not None:
        sections.append(detection_section(scored, matches, folder=folder))
    sections += table_section(scored.name, scored.scorer.tables(), folder=folder)
    return sections


def _pictures(scored: ScoredSet, scores: PictureScores, *, folder: Path, count: int, threshold: float) -> Section:
    """The worst and the best pictures, drawn; one that is both is drawn once, as one of the worst."""
    worst = scores.worst(count)
    best = [image for image in scores.best(count) if image not in worst]
    cards = []
    for kind, chosen in (("worst", worst), ("best", best)):
        for place, image in enumerate(chosen, start=1):
            path = folder / f"{scored.name}_{kind}_{place}.png"
            drawn = draw_both(scored, image, threshold=threshold, lowest=kind == "worst")
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn.picture.save(path)
            title = f"{kind} {place}: image {image}"
            cards.append(Card(title, path, text=drawn.text, facts={scores.metric: f"{scores.values[image]:.1f}"}))
            scored.advance()
    shown = (
        f" Finds are drawn from score {threshold:.2f} on, where F1 over all pictures is largest." if threshold else ""
    )
    text = f"By {scores.metric} of each picture, truth left, prediction right.{shown}"
    return Section(f"{scored.name}: worst and best pictures", text, cards=cards)
