"""Panoptic quality. Source: Kirillov et al., "Panoptic Segmentation", with the void and crowd rules of COCO."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.evaluation.metric import Metric


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic map: its value there, the position of its class, and whether it is a crowd."""

    id: int
    class_index: int
    iscrowd: bool = False


class PanopticQuality(Metric):
    """PQ, SQ and RQ over all classes, things and stuff.

    A predicted and a true segment of one class match when their IoU exceeds 0.5, where pixels that are void in the
    truth do not count as predicted. Unmatched predictions that lie by more than half on void, or on a crowd of their
    class, are not false positives. Classes that occur neither in the truth nor as false positives are left out.

    Args:
        isthing: K flags, one per class.
    """

    def __init__(self, isthing: Sequence[bool]) -> None:
        super().__init__()
        self.isthing = np.asarray(isthing, bool)

    def update(
        self,
        predicted_map: np.ndarray,
        predicted: Sequence[Segment],
        *,
        true_map: np.ndarray,
        true: Sequence[Segment],
        key: Any = None,
    ) -> None:
        """Add one image.

        Args:
            predicted_map: (H, W) integers, 0 is void. predicted: its segments.
            true_map: (H, W) integers, 0 is void. true: its segments.
            key: identifies the sample across ranks.

        Raises:
            ValueError: the maps differ in size, or a map holds an id that no segment lists.
        """
        if predicted_map.shape != true_map.shape:
            raise ValueError(f"predicted map {predicted_map.shape} and true map {true_map.shape} differ in size")
        for name, values, segments in (("predicted", predicted_map, predicted), ("true", true_map, true)):
            unknown = set(np.unique(values).tolist()) - {s.id for s in segments} - {0}
            if unknown:
                raise ValueError(f"the {name} panoptic map holds ids {sorted(unknown)} that no segment lists")
        self._add(key, self._compare(predicted_map, predicted, true_map=true_map, true=true))

    def _compare(
        self, predicted_map: np.ndarray, predicted: Sequence[Segment], *, true_map: np.ndarray, true: Sequence[Segment]
    ) -> np.ndarray:
        """Per-class (K, 4): summed IoU, true positives, false positives, false negatives of one image."""
        counts = np.zeros((len(self.isthing), 4))
        predicted_ids = {s.id: i + 1 for i, s in enumerate(predicted)}
        true_ids = {s.id: i + 1 for i, s in enumerate(true)}
        overlap = _overlaps(
            _renumber(predicted_map, predicted_ids),
            _renumber(true_map, true_ids),
            shape=(len(predicted) + 1, len(true) + 1),
        )
        predicted_area, true_area = overlap.sum(1), overlap.sum(0)
        matched_predicted, matched_true = set(), set()
        for p, t in np.argwhere(overlap[1:, 1:]) + 1:
            segment, truth = predicted[p - 1], true[t - 1]
            if truth.iscrowd or segment.class_index != truth.class_index:
                continue
            union = predicted_area[p] + true_area[t] - overlap[p, t] - overlap[p, 0]
            iou = overlap[p, t] / union
            if iou > 0.5:
                counts[truth.class_index, 0] += iou
                counts[truth.class_index, 1] += 1
                matched_predicted.add(p)
                matched_true.add(t)
        for t, truth in enumerate(true, start=1):
            if t not in matched_true and not truth.iscrowd:
                counts[truth.class_index, 3] += 1
        for p, segment in enumerate(predicted, start=1):
            if p in matched_predicted or predicted_area[p] == 0:
                continue
            excused = overlap[p, 0] + sum(
                overlap[p, t]
                for t, truth in enumerate(true, start=1)
                if truth.iscrowd and truth.class_index == segment.class_index
            )
            if excused / predicted_area[p] <= 0.5:
                counts[segment.class_index, 2] += 1
        return counts

    def compute(self) -> dict[str, float]:
        """``PQ SQ RQ`` over all classes, ``*_th`` over things, ``*_st`` over stuff, in percent."""
        total = sum(self._gathered(), np.zeros((len(self.isthing), 4)))
        out: dict[str, float] = {}
        for suffix, chosen in (("", np.ones_like(self.isthing)), ("_th", self.isthing), ("_st", ~self.isthing)):
            for name, values in zip(("PQ", "SQ", "RQ"), _quality(total[chosen]), strict=True):
                out[name + suffix] = 100.0 * float(values.mean()) if len(values) else 0.0
        return out

    def per_class(self) -> dict[int, float]:
        """PQ in percent of every class that occurs, by position."""
        total = sum(self._gathered(), np.zeros((len(self.isthing), 4)))
        seen = np.flatnonzero(total[:, 1:].sum(1))
        return {int(k): 100.0 * float(_quality(total[k : k + 1])[0][0]) for k in seen}


def _renumber(values: np.ndarray, places: dict[int, int]) -> np.ndarray:
    found, inverse = np.unique(values, return_inverse=True)
    return np.array([places.get(int(v), 0) for v in found])[inverse].reshape(values.shape)


def _overlaps(first: np.ndarray, second: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Pixels shared by every pair of values, ``shape`` being one more than the largest ones; 0 is void."""
    codes = first.astype(np.int64) * shape[1] + second
    return np.bincount(codes.ravel(), minlength=shape[0] * shape[1]).reshape(shape)


def _quality(counts: np.ndarray) -> list[np.ndarray]:
    iou, tp, fp, fn = counts[counts[:, 1:].sum(1) > 0].T if len(counts) else np.zeros((4, 0))
    recognition = tp / (tp + 0.5 * fp + 0.5 * fn)
    segmentation = np.divide(iou, tp, out=np.zeros_like(iou), where=tp > 0)
    return [segmentation * recognition, segmentation, recognition]
