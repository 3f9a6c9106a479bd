"""Phrase grounding: how often one of the best boxes of a phrase is right (Flickr30k entities, protocol of MDETR)."""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mvplm.evaluation.intervals import ImageSums
from mvplm.evaluation.metric import Metric, percent
from mvplm.evaluation.sizes import SIZES, size_of

Boxes = Sequence[Sequence[float]]
RANKS = (1, 5, 10)
_MERGED = "merged"


class _Phrase(NamedTuple):
    """Places of the first right box, any and merged; size of the merged box."""

    ranks: tuple[int, int]
    size: str
    image: Hashable


class GroundingRecall(Metric):
    """R@k: share of phrases for which one of the k best boxes overlaps a true one with IoU >= t.

    Two protocols are counted at once. Any box: a true box is any of the phrase's. Merged boxes: the true boxes of a
    phrase are one, the smallest box around them. Source: Kamath et al., "MDETR", 2021, section 4.2.1; Plummer et al.,
    "Flickr30k entities", 2015.

    Args:
        threshold: t.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold = threshold

    def update(self, predicted: Boxes, true: Boxes, *, image: Hashable = None, key: Any = None) -> None:
        """Add one phrase.

        Args:
            predicted: boxes XYXY_ABS, best first; may be empty.
            true: boxes of the phrase, at least one.
            image: what :meth:`image_sums` puts together; None makes the phrase an image of its own.
            key: identifies the phrase across processes.

        Raises:
            ValueError: there is no true box.
        """
        if not len(true):
            raise ValueError("a phrase without a true box cannot be scored; leave it out")
        boxes = np.asarray(true, np.float64)
        around = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])[None]
        key = object() if key is None else key
        ranks = (self._rank(predicted, boxes), self._rank(predicted, around))
        size = size_of(float((around[0, 2:] - around[0, :2]).prod()))
        self._add(key, _Phrase(ranks, size, ("phrase", key) if image is None else image))

    def _rank(self, predicted: Boxes, true: np.ndarray) -> int:
        """Place of the first right box within the best ten, counted from 0; ten where none is right."""
        guessed = np.asarray(predicted[: RANKS[-1]], np.float64).reshape(-1, 4)
        right = (_ious(guessed, true) >= self.threshold).any(1)
        return int(right.argmax()) if right.any() else RANKS[-1]

    def compute(self) -> dict[str, float]:
        """Percent: ``R@1``, ``R@5``, ``R@10`` for any box, ``merged/R@1`` ... for merged ones; empty without any."""
        return _recalls(self._gathered())

    def per_size(self) -> dict[str, dict[str, float]]:
        """Size of the merged box (small, medium, large) -> how many ``phrases``, and their recalls."""
        entries = self._gathered()
        groups = {size: [entry for entry in entries if entry.size == size] for size in SIZES}
        return {size: {"phrases": len(found), **_recalls(found)} for size, found in groups.items() if found}

    def image_sums(self) -> ImageSums:
        """The same by image, for confidence intervals."""
        entries = self._gathered()
        ranks = np.array([entry.ranks for entry in entries], np.int64).reshape(-1, 2)
        values = {name: right.astype(np.float64).tolist() for name, right in _right(ranks).items()}
        return ImageSums.of_samples([entry.image for entry in entries], values)


def _recalls(entries: Sequence[_Phrase]) -> dict[str, float]:
    if not entries:
        return {}
    ranks = np.array([entry.ranks for entry in entries])
    return {name: percent(int(right.sum()), len(entries)) for name, right in _right(ranks).items()}


def _right(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Name -> (P,) bool of places (P, 2) of the first right box, any and merged."""
    names = ("", f"{_MERGED}/")
    return {f"{name}R@{most}": ranks[:, column] < most for column, name in enumerate(names) for most in RANKS}


def _ious(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, M) of boxes (N, 4) and (M, 4) XYXY; 0 for boxes without area."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
