"""Referring comprehension: share of expressions whose box is right."""

from collections.abc import Hashable, Sequence
from typing import Any

from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.metric import Metric, percent


class BoxAccuracy(Metric):
    """Acc@t: share of expressions whose first box overlaps the true one with IoU >= t.

    Args:
        threshold: t.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(
        self, predicted: Sequence[float] | None, true: Sequence[float], *, image: Hashable = None, key: Any = None
    ) -> None:
        """Add one expression: predicted box (None when nothing was found) and true box, both XYXY_ABS.

        ``image`` is what :meth:`image_sums` puts together; None makes the expression an image of its own.
        """
        key = object() if key is None else key
        iou = 0.0 if predicted is None else _iou(predicted, true)
        self._add(key, (iou, ("expression", key) if image is None else image))

    def compute(self) -> dict[str, float]:
        """``Acc@t`` in percent; empty when no expression was seen."""
        ious = [iou for iou, _ in self._gathered()]
        if not ious:
            return {}
        return {f"Acc@{self.threshold}": percent(sum(iou >= self.threshold for iou in ious), len(ious))}

    def image_sums(self) -> ImageSums:
        """``Acc@t`` by image, for confidence intervals."""
        entries = self._gathered()
        right = [float(iou >= self.threshold) for iou, _ in entries]
        return ImageSums.of_samples([image for _, image in entries], {f"Acc@{self.threshold}": right})


def _iou(first: Sequence[float], second: Sequence[float]) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return overlap / (areas - overlap) if areas > overlap else 0.0
