"""Referring comprehension: share of expressions whose box is right."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.metric import Metric, percent
from mvplm.evaluation.sizes import size_of


class _Score(NamedTuple):
    """One expression: IoU of its box, and what it is about."""

    iou: float
    size: str
    kind: str
    image: Hashable


class BoxAccuracy(Metric):
    """Acc@t: share of expressions whose first box overlaps the true one with IoU >= t.

    Args:
        threshold: t.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(
        self,
        predicted: Sequence[float] | None,
        true: Sequence[float],
        *,
        kind: str = "",
        image: Hashable = None,
        key: Any = None,
    ) -> None:
        """Add one expression.

        Args:
            predicted: box XYXY_ABS, None when nothing was found.
            true: box XYXY_ABS.
            kind: how the target is told apart; see :meth:`table`.
            image: what :meth:`image_sums` puts together; None makes the expression an image of its own.
            key: identifies the expression across ranks.
        """
        key = object() if key is None else key
        iou = 0.0 if predicted is None else box_iou(predicted, true)
        size = size_of((true[2] - true[0]) * (true[3] - true[1]))
        self._add(key, _Score(iou, size, kind, ("expression", key) if image is None else image))

    def compute(self) -> dict[str, float]:
        """``Acc@t`` in percent; empty when no expression was seen."""
        return self._accuracy(self._gathered())

    def table(self, by: str) -> dict[str, dict[str, float]]:
        """Group of expressions -> how many ``expressions``, and ``Acc@t``.

        Args:
            by: "kind", or "size", that of the true box.
        """
        entries = self._gathered()
        found: dict[str, dict[str, float]] = {}
        for group in sorted({getattr(entry, by) for entry in entries}):
            chosen = [entry for entry in entries if getattr(entry, by) == group]
            found[group] = {"expressions": len(chosen), **self._accuracy(chosen)}
        return found

    def _accuracy(self, entries: Sequence[_Score]) -> dict[str, float]:
        right = sum(entry.iou >= self.threshold for entry in entries)
        return {f"Acc@{self.threshold}": percent(right, len(entries))} if entries else {}

    def image_sums(self) -> ImageSums:
        """``Acc@t`` by image, for confidence intervals."""
        entries = self._gathered()
        right = [float(entry.iou >= self.threshold) for entry in entries]
        return ImageSums.of_samples([entry.image for entry in entries], {f"Acc@{self.threshold}": right})


def box_iou(first: Sequence[float], second: Sequence[float]) -> float:
    """IoU of two boxes XYXY_ABS; 0 where both are empty."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return overlap / (areas - overlap) if areas > overlap else 0.0
