"""Mean intersection over union of semantic maps."""

from typing import Any

import numpy as np

from mvplm.evaluation.metric import Metric


class SemanticIoU(Metric):
    """mIoU and pixel accuracy over classes that occur in the truth or the prediction.

    Args:
        num_classes: K. Values outside [0, K) in the truth are ignored; in the prediction they are misses.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def update(self, predicted: np.ndarray, true: np.ndarray, *, key: Any = None) -> None:
        """Add one image: class positions (H, W) of prediction and truth. Raises ValueError when sizes differ."""
        if predicted.shape != true.shape:
            raise ValueError(f"predicted map {predicted.shape} and true map {true.shape} differ in size")
        count = self.num_classes
        known = (true >= 0) & (true < count)
        guess = np.where((predicted >= 0) & (predicted < count), predicted, count)[known]
        codes = true[known].astype(np.int64) * (count + 1) + guess
        self._add(key, np.bincount(codes, minlength=count * (count + 1)).reshape(count, count + 1))

    def compute(self) -> dict[str, float]:
        """``mIoU`` and ``pixel_accuracy`` in percent."""
        confusion = sum(self._gathered(), np.zeros((self.num_classes, self.num_classes + 1)))
        hits = np.diagonal(confusion)
        union = confusion.sum(1) + confusion[:, :-1].sum(0) - hits
        seen = union > 0
        pixels = confusion.sum()
        return {
            "mIoU": 100.0 * float((hits[seen] / union[seen]).mean()) if seen.any() else 0.0,
            "pixel_accuracy": 100.0 * float(hits.sum() / pixels) if pixels else 0.0,
        }
