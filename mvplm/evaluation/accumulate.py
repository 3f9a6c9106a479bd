"""Average precision and recall of classes from their matches, number for number those of pycocotools."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.match_table import ClassMatches, MatchTable
from mvplm.evaluation.matching import AREAS, THRESHOLDS
from mvplm.evaluation.precision import RECALLS, mean_or_none, precision_at_recalls


@dataclass(frozen=True)
class Accumulated:
    """Precision and recall in [0, 1], -1 where a class has no true object; K classes, T thresholds, R recalls, A sizes.

    Attributes:
        classes: K positions.
        precision: (T, R, K, A). recall: most finds per picture -> (T, K, A).
        fixed: (T, R, K) without a limit per picture, or None.
    """

    classes: Sequence[int]
    precision: np.ndarray
    recall: Mapping[int, np.ndarray]
    fixed: np.ndarray | None

    def results(self, classes: Sequence[int], *, rules: DetectionRules) -> dict[str, float]:
        """Percent of means over classes: ``AP``, ``AP50``, ``AP75``, ``APs`` ..., ``AR1`` ..., ``ARs`` ....

        ``AP``, ``AP50``, ``AP75`` and ``AR*`` are 0 where there is no true object at all; numbers of a size or of a
        frequency are left out where it has none.
        """
        chosen = self._places(classes)
        whole = self.precision[:, :, chosen, 0]
        three = {"AP": whole, "AP50": whole[[0]], "AP75": whole[[5]]}
        out = {name: mean_or_none(values) or 0.0 for name, values in three.items()}
        most = max(self.recall)
        out |= {f"AR{m}": mean_or_none(recall[:, chosen, 0]) or 0.0 for m, recall in self.recall.items()}
        parts: dict[str, float | None] = {}
        for area, letter in enumerate(AREAS.values()):
            if letter:
                parts[f"AP{letter}"] = mean_or_none(self.precision[:, :, chosen, area])
                parts[f"AR{letter}"] = mean_or_none(self.recall[most][:, chosen, area])
        groups = {letter: self._places(set(classes) & set(g)) for letter, g in rules.frequencies.items()}
        parts |= {f"AP{letter}": mean_or_none(self.precision[:, :, group, 0]) for letter, group in groups.items()}
        if self.fixed is not None:
            out["AP_fixed"] = mean_or_none(self.fixed[:, :, chosen]) or 0.0
            parts |= {f"AP{letter}_fixed": mean_or_none(self.fixed[:, :, group]) for letter, group in groups.items()}
        return out | {name: value for name, value in parts.items() if value is not None}

    def _places(self, classes: Sequence[int] | set[int]) -> list[int]:
        wanted = set(classes)
        return [place for place, label in enumerate(self.classes) if label in wanted]


def accumulate(table: MatchTable, classes: Sequence[int], *, kind: str, rules: DetectionRules) -> Accumulated:
    """Precision and recall of some classes, one class at a time; their order is that of the positions."""
    classes = sorted(set(classes))
    shape = (len(THRESHOLDS), len(RECALLS), len(classes), len(AREAS))
    limits = [m for m in (1, 10) if m < rules.max_detections and not rules.whole_picture] + [rules.max_detections]
    precision = np.full(shape, -1.0)
    recall = {limit: np.full((shape[0], *shape[2:]), -1.0) for limit in limits}
    fixed = None if rules.per_class_limit is None else np.full(shape[:3], -1.0)
    for k, label in enumerate(classes):
        found = table.get(label)
        if found is None:
            continue
        outcomes = found.unpacked(kind, found.counted)
        rank = found.rank[found.counted]
        for area in np.flatnonzero(found.objects):
            objects = found.objects[[area]]
            right, judged = outcomes.right[area], outcomes.judged[area]
            for limit, values in recall.items():
                hits = right if limit == rules.max_detections else right[:, rank < limit]
                values[:, k, area] = hits.sum(1) / objects
            for t in range(len(THRESHOLDS)):
                precision[t, :, k, area] = precision_at_recalls(right[t], judged[t], objects=objects)[0]
        if fixed is not None and found.objects[0]:
            fixed[:, :, k] = _fixed(found, kind, limit=rules.per_class_limit)
    return Accumulated(classes, precision, recall, fixed)


def _fixed(found: ClassMatches, kind: str, *, limit: int | None) -> np.ndarray:
    """(T, R) of the best finds of a class over the whole set."""
    outcomes = found.unpacked(kind, np.arange(len(found.scores)) < limit)
    rows = zip(outcomes.right[0], outcomes.judged[0], strict=True)
    return np.concatenate([precision_at_recalls(*row, objects=found.objects[[0]]) for row in rows])
