"""Charts and tables of a set: confusions, scores against rightness, classes and sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.analysis.judged import Confusion, vocabulary_of
from mvplm.analysis.matches import IOU, Matches
from mvplm.analysis.results import ScoredSet
from mvplm.evaluation import Table
from mvplm.measuring.scorers import DetectionScorer
from mvplm.visualize import Card, Section, Sheet, bar_chart, heat_map, line_chart, scatter_chart

_NAMES, _PAIRS, _CURVES, _BARS, _POINTS = 20, 20, 8, 40, 5000


def confusion_section(name: str, confusion: Confusion, *, folder: Path) -> Section:
    """The names that are mistaken most, as a heat map and as a table.

    Args:
        name: of the set. confusion: its names. folder: for pictures.
    """
    rows = confusion.most_frequent(_PAIRS)
    if not rows:
        return Section(f"{name}: confusions", "No name was taken for another.")
    chosen = confusion.most_confused(_NAMES)
    shares = 100 * confusion.table[np.ix_(chosen, chosen)] / confusion.totals[chosen][:, None]
    names = [confusion.names[place] for place in chosen]
    chart = heat_map(folder / f"{name}_confusion.png", shares, names=(names, names))
    text = f"Percent of the {confusion.unit} of each true name, for the names with the most mistakes."
    sheet = Sheet("Most frequent confusions", ("true", "predicted", confusion.unit, "% of the true name"), rows)
    return Section(f"{name}: confusions", text, charts=(Card("Confusions", chart),), sheets=(sheet,))


def detection_section(scored: ScoredSet, matches: Matches, *, folder: Path) -> Section:
    """Scores against rightness, precision against recall, scores against IoU.

    Args:
        scored: the set. matches: its finds. folder: for pictures.
    """
    title, text = f"{scored.name}: scores", f"Boxes; a find is right from IoU {IOU} on."
    if not len(matches.score):
        return Section(title, "Nothing was found.")
    assert isinstance(scored.scorer, DetectionScorer)
    names, ap = vocabulary_of(scored).names, scored.scorer.groups.ap
    bins = [
        (found.score, found.precision, found.count)
        for found in ap.calibration(iou=IOU)["box"]
        if found.score is not None and found.precision is not None
    ]
    scores, right = [entry[0] for entry in bins], [entry[1] for entry in bins]
    sheet = Sheet("Calibration", ("mean score", "% right", "finds"), [[f"{s:.2f}", 100 * r, n] for s, r, n in bins])
    frequent = np.argsort(-matches.objects.sum(0), kind="stable")[:_CURVES]
    known = {names[place]: ap.curves(int(place), iou=IOU) for place in frequent if place in ap.classes}
    curves = {name: found["box"] for name, found in known.items() if found}
    # A sample of fixed places: enough to see where the points lie.
    shown = np.linspace(0, len(matches.score) - 1, min(_POINTS, len(matches.score))).astype(int)
    groups = {
        label: (matches.score[shown][kind], matches.iou[shown][kind])
        for label, kind in (("right", matches.right[shown]), ("wrong", ~matches.right[shown]))
    }
    stem = folder / scored.name
    charts = (
        Card(
            "Calibration",
            line_chart(f"{stem}_calibration.png", {"": (scores, right)}, labels=("score", "right"), diagonal=True),
            text="Share of right finds by score; on the dashed line scores are probabilities.",
        ),
        Card(
            "Precision and recall",
            line_chart(
                f"{stem}_precision_recall.png",
                {name: (curve.recall, curve.precision) for name, curve in curves.items()},
                labels=("recall", "precision"),
            ),
            text="Of the most frequent names: the best precision at each recall or a higher one.",
        ),
        Card(
            "Score and IoU",
            scatter_chart(f"{stem}_score_iou.png", groups, labels=("score", "IoU with the nearest of the name")),
        ),
    )
    return Section(title, text, charts=charts, sheets=(sheet,))


def table_section(name: str, tables: Mapping[str, Table], *, folder: Path) -> list[Section]:
    """Tables of classes with bars, and of sizes and kinds.

    Args:
        name: of the set. tables: by name. folder: for pictures.
    """
    sections = []
    for title, table in tables.items():
        charts: tuple[Card, ...] = ()
        values = _main_column(table) if title.endswith("per_class") else {}
        if values:
            path = bar_chart(folder / f"{name}_{title.replace('/', '_')}.png", values, label=_main_name(table))
            charts = (Card(f"{_main_name(table)} of each class, the lowest {len(values)}", path),)
        sheet = Sheet(title, table.columns, table.rows)
        sections.append(Section(f"{name}: {title}", charts=charts, sheets=(sheet,)))
    return sections


def _main_name(table: Table) -> str:
    """The column that is charted: mask AP where there is one, else the first metric."""
    return next((c for c in ("mask_AP", "box_AP", "PQ", "IoU") if c in table.columns), table.columns[1])


def _main_column(table: Table) -> dict[str, Any]:
    place = list(table.columns).index(_main_name(table))
    known = [(row[0], row[place]) for row in table.rows if row[place] is not None]
    return dict(sorted(known, key=lambda row: (row[1], row[0]))[:_BARS])
