"""Bootstrap intervals of average precision over pictures: each draw counts every picture some number of times."""

from collections.abc import Sequence

import numpy as np

from mvplm.evaluation.intervals import Interval, draw_counts, percentile_intervals
from mvplm.evaluation.match_table import ClassMatches, MatchTable
from mvplm.evaluation.matching import THRESHOLDS
from mvplm.evaluation.precision import precision_at_recalls

_CELLS = 2**21
"""Finds x draws that are held at a time."""


def intervals(
    table: MatchTable, classes: Sequence[int], *, kinds: Sequence[str], draws: int, level: float, seed: int
) -> dict[str, Interval]:
    """``{kind}_AP``, ``{kind}_AP50``, ``{kind}_AP75`` with intervals; see ``DetectionAP.intervals``.

    Equal scores of one class in one picture are taken as copies side by side when the picture is drawn twice.
    """
    counts = _counts(table, draws=draws, seed=seed)
    return _read(_numbers(table, classes, kinds=kinds, counts=counts), kinds, level=level)


def paired_intervals(
    tables: tuple[MatchTable, MatchTable],
    classes: tuple[Sequence[int], Sequence[int]],
    *,
    kinds: Sequence[str],
    draws: int,
    level: float,
    seed: int,
) -> dict[str, Interval]:
    """The same for differences, second minus first, of tables of the same pictures."""
    counts = _counts(tables[0], draws=draws, seed=seed)
    first, second = (
        _numbers(table, chosen, kinds=kinds, counts=counts) for table, chosen in zip(tables, classes, strict=True)
    )
    return _read(second - first, kinds, level=level)


def _counts(table: MatchTable, *, draws: int, seed: int) -> np.ndarray:
    """(1 + draws, pictures) float64: every picture once, then the draws."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    if not table.pictures:
        raise ValueError("intervals need pictures; none was added")
    return np.concatenate([np.ones((1, table.pictures)), *draw_counts(table.pictures, draws=draws, seed=seed)])


def _read(numbers: np.ndarray, kinds: Sequence[str], *, level: float) -> dict[str, Interval]:
    names = [f"{kind}_{name}" for kind in kinds for name in ("AP", "AP50", "AP75")]
    kept = ~np.isnan(numbers[0])
    known = [name for name, keep in zip(names, kept, strict=True) if keep]
    return percentile_intervals(known, numbers[0, kept], drawn=numbers[1:, kept], level=level)


def _numbers(table: MatchTable, classes: Sequence[int], *, kinds: Sequence[str], counts: np.ndarray) -> np.ndarray:
    """Percent (draws, 3 kinds): AP, AP50 and AP75 of each kind; NaN where nothing drawn has a true object."""
    sums = np.zeros((len(kinds), len(counts), len(THRESHOLDS)))
    present = np.zeros(len(counts))
    for label in classes:
        found = table.get(label)
        if found is None or not len(found.where):
            continue
        objects = counts[:, found.where] @ found.present[:, 0]
        drawn = np.flatnonzero(objects)
        present[drawn] += 1
        for place, kind in enumerate(kinds):
            sums[place, drawn] += _class_numbers(found, kind, counts=counts[drawn], objects=objects[drawn])
    with np.errstate(invalid="ignore"):
        means = 100 * sums / present[:, None]
    columns = [column for mean in means for column in (mean.mean(1), mean[:, 0], mean[:, 5])]
    return np.stack(columns, axis=1)


def _class_numbers(found: ClassMatches, kind: str, *, counts: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """(draws, T) in [0, 1]: average precision of one class."""
    outcomes = found.unpacked(kind, found.counted)
    picture = found.picture[found.counted]
    out = np.zeros((len(counts), len(THRESHOLDS)))
    step = max(_CELLS // max(len(picture), 1), 1)
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        weights = counts[part][:, picture]
        for t in range(len(THRESHOLDS)):
            found_at = precision_at_recalls(
                outcomes.right[0, t], outcomes.judged[0, t], objects=objects[part], weights=weights
            )
            out[part, t] = found_at.mean(1)
    return out
