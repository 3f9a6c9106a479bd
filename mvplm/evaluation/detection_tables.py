"""Average precision taken apart: by class, by size, over recall and over scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvplm.evaluation.accumulate import accumulate
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.match_table import MatchTable
from mvplm.evaluation.matching import AREAS, THRESHOLDS
from mvplm.evaluation.precision import RECALLS, mean_or_none, precision_at_recalls


@dataclass(frozen=True)
class Curve:
    """recall, precision: (101,) in [0, 1]; precision is the best at this recall or a higher one."""

    recall: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True)
class CalibrationBin:
    """Finds with scores in [low, high): how many, their mean score, and the share that is right.

    The last bin holds a score of 1, too; ``score`` and ``precision`` are None without finds.
    """

    low: float
    high: float
    count: int
    score: float | None
    precision: float | None


def per_class(
    table: MatchTable, classes: Sequence[int], *, kinds: Sequence[str], rules: DetectionRules
) -> dict[int, dict[str, float]]:
    """See ``DetectionAP.per_class``."""
    out: dict[int, dict[str, float]] = {}
    for label in classes:
        found = table.get(label)
        if found is not None and found.objects[0]:
            out[label] = {"objects": int(found.objects[0])}
    for kind in kinds:
        known = accumulate(table, list(out), kind=kind, rules=rules)
        for k, label in enumerate(known.classes):
            precision = known.precision[:, :, k, 0]
            out[label] |= {
                f"{kind}_AP": 100 * float(precision.mean()),
                f"{kind}_AP50": 100 * float(precision[0].mean()),
            }
    return out


def per_size(
    table: MatchTable, classes: Sequence[int], *, kinds: Sequence[str], rules: DetectionRules
) -> dict[str, dict[str, float]]:
    """See ``DetectionAP.per_size``."""
    chosen = [found for label in classes if (found := table.get(label)) is not None]
    objects = np.sum([found.objects for found in chosen], axis=0) if chosen else np.zeros(len(AREAS))
    out: dict[str, dict[str, float]] = {size: {"objects": int(n)} for size, n in zip(AREAS, objects, strict=True)}
    for kind in kinds:
        known = accumulate(table, classes, kind=kind, rules=rules)
        for area, size in enumerate(AREAS):
            values = {
                f"{kind}_AP": mean_or_none(known.precision[..., area]),
                f"{kind}_AR": mean_or_none(known.recall[max(known.recall)][..., area]),
            }
            out[size] |= {name: value for name, value in values.items() if value is not None}
    return out


def curves(table: MatchTable, class_index: int, *, kinds: Sequence[str], iou: float) -> dict[str, Curve]:
    """See ``DetectionAP.curves``. Empty for a class without true objects."""
    t, found = _threshold(iou), table.get(class_index)
    if found is None or not found.objects[0]:
        return {}
    out = {}
    for kind in kinds:
        outcomes = found.unpacked(kind, found.counted)
        precision = precision_at_recalls(outcomes.right[0, t], outcomes.judged[0, t], objects=found.objects[[0]])
        out[kind] = Curve(RECALLS, precision[0])
    return out


def calibration(table: MatchTable, *, kinds: Sequence[str], bins: int, iou: float) -> dict[str, list[CalibrationBin]]:
    """See ``DetectionAP.calibration``."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    t, out = _threshold(iou), {}
    edges = np.linspace(0, 1, bins + 1)
    for kind in kinds:
        sums = np.zeros((3, bins))  # finds, their scores, right ones
        for _, found in table.items():
            outcomes = found.unpacked(kind, found.counted)
            judged = outcomes.judged[0, t]
            scores, right = found.scores[found.counted][judged], outcomes.right[0, t][judged]
            places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, bins - 1)
            for row, weights in enumerate((np.ones(len(scores)), scores, right)):
                sums[row] += np.bincount(places, weights=weights, minlength=bins)
        out[kind] = [
            CalibrationBin(low, high, int(n), score / n if n else None, hits / n if n else None)
            for low, high, (n, score, hits) in zip(
                edges[:-1].tolist(), edges[1:].tolist(), sums.T.tolist(), strict=True
            )
        ]
    return out


def _threshold(iou: float) -> int:
    near = np.flatnonzero(np.isclose(THRESHOLDS, iou))
    if not len(near):
        raise ValueError(f"iou must be one of 0.5, 0.55 ... 0.95, got {iou}")
    return int(near[0])
