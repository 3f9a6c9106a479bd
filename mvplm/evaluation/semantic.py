"""Mean intersection over union of semantic maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.evaluation.class_sums import ClassMean, ClassSums, JoinedSums, sparse_column
from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.metric import Metric, percent


@dataclass(frozen=True)
class _Cells:
    """The pairs of true and predicted class that one image has: their places in the table, and their pixels."""

    places: np.ndarray
    pixels: np.ndarray


class SemanticIoU(Metric):
    """mIoU and pixel accuracy over classes that occur in the truth or the prediction.

    An image keeps the pairs of classes that it has, not a table of all of them.

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
        table = np.bincount(codes, minlength=count * (count + 1))
        places = np.flatnonzero(table)
        self._add(key, _Cells(places, table[places]))

    def compute(self) -> dict[str, float]:
        """``mIoU`` and ``pixel_accuracy`` in percent."""
        confusion = self.confusion()
        hits, union = np.diagonal(confusion), _union(confusion)
        seen = union > 0
        return {
            "mIoU": 100.0 * float((hits[seen] / union[seen]).mean()) if seen.any() else 0.0,
            "pixel_accuracy": percent(float(hits.sum()), float(confusion.sum())),
        }

    def confusion(self) -> np.ndarray:
        """Pixels (K, K + 1) int64 of every true class by the predicted one; the last column are misses."""
        count = self.num_classes
        table = np.zeros(count * (count + 1), np.int64)
        for cells in self._gathered():
            table[cells.places] += cells.pixels
        return table.reshape(count, count + 1)

    def per_class(self) -> dict[int, dict[str, float]]:
        """Position of every class that occurs -> ``IoU`` in percent, and ``pixels`` of the truth."""
        confusion = self.confusion()
        hits, union, pixels = np.diagonal(confusion), _union(confusion), confusion.sum(1)
        return {
            int(place): {"IoU": percent(float(hits[place]), float(union[place])), "pixels": int(pixels[place])}
            for place in np.flatnonzero(union)
        }

    def image_sums(self) -> JoinedSums:
        """The metrics of ``compute`` by image, for confidence intervals."""
        return JoinedSums((self._class_sums(), self._pixel_sums()))

    def _class_sums(self) -> ClassSums:
        entries = self._gathered_by_key()
        count = self.num_classes
        rows = np.repeat(np.arange(len(entries)), [len(cells.places) for cells in entries.values()])
        places = np.concatenate([cells.places for cells in entries.values()] or [np.zeros(0, np.int64)])
        pixels = np.concatenate([cells.pixels for cells in entries.values()] or [np.zeros(0, np.int64)])
        true, guess = np.divmod(places, count + 1)
        # Pixels of one class taken for another are in the union of both.
        also = (guess != true) & (guess < count)
        shape = (len(entries), count)
        hits = sparse_column(rows, true, values=pixels * (guess == true), shape=shape)
        union = sparse_column(rows, true, values=pixels, shape=shape)
        union = union + sparse_column(rows[also], guess[also], values=pixels[also], shape=shape)
        means = {"mIoU": ClassMean("hits", "union", "union", np.ones(count, bool))}
        return ClassSums(list(entries), {"hits": hits, "union": union}, means)

    def _pixel_sums(self) -> ImageSums:
        entries = self._gathered_by_key()
        sums = [(self._right(cells), cells.pixels.sum()) for cells in entries.values()]
        return ImageSums(list(entries), {"pixel_accuracy": np.array(sums, np.float64).reshape(-1, 2)})

    def _right(self, cells: _Cells) -> int:
        true, guess = np.divmod(cells.places, self.num_classes + 1)
        return int(cells.pixels[true == guess].sum())


def _union(confusion: np.ndarray) -> np.ndarray:
    """Pixels (K,) of every class in the truth or the prediction."""
    return confusion.sum(1) + confusion[:, :-1].sum(0) - np.diagonal(confusion)
