"""Panoptic quality, number for number that of panopticapi.

Source: Kirillov et al., "Panoptic Segmentation", and the published evaluation of the COCO panoptic task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.evaluation.class_sums import ClassMean, ClassSums, sparse_column
from mvplm.evaluation.metric import Metric
from mvplm.evaluation.overlaps import Listed, Overlaps, shared_pixels
from mvplm.structures.vocabulary import Vocabulary


@dataclass(frozen=True)
class _Counts:
    """What one image adds: positions (C,) of the categories it touches, and for each of them (C, 4) summed IoU of the
    matches, true positives, false positives, false negatives."""

    places: np.ndarray
    sums: np.ndarray


class PanopticQuality(Metric):
    """PQ, SQ and RQ over all categories, things and stuff.

    A predicted and a true segment of one category match when their IoU exceeds 0.5, where pixels that are void in the
    truth do not count as predicted. A prediction without a match is no false positive when more than half of it lies
    on void or on the crowd of its category (the last one listed, should there be several). Crowds are never matched
    and never missed. Categories that occur neither in the truth nor as false positives are left out of the means.

    Args:
        categories: K entries ``{"id", "name", "isthing"}``.

    Raises:
        ValueError: there is no category, or two have one id.
    """

    def __init__(self, categories: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.categories = [dict(category) for category in categories]
        self._ids = np.array([category["id"] for category in self.categories], np.int64)
        if not self.categories or len(np.unique(self._ids)) != len(self._ids):
            raise ValueError(f"there must be categories, and their ids must differ, got {self._ids.tolist()}")
        self._places = {int(id_): place for place, id_ in enumerate(self._ids)}
        self._isthing = np.array([bool(category["isthing"]) for category in self.categories], bool)

    def update(
        self,
        pred_map: np.ndarray,
        pred_segments: Sequence[Mapping[str, Any]],
        gt_map: np.ndarray,
        gt_segments: Sequence[Mapping[str, Any]],
        *,
        key: Any = None,
    ) -> None:
        """Add one image. Areas are those of the maps.

        Args:
            pred_map: (H, W) integers, 0 is void. pred_segments: its entries ``{"id", "category_id"}``.
            gt_map: (H, W) integers, 0 is void. gt_segments: its entries, with ``"iscrowd"`` (0 where it is missing).
            key: identifies the sample across processes; an image seen twice under one key counts once.

        Raises:
            ValueError: the maps differ in size or hold no integers; a map holds an id that is not listed; a predicted
                segment has no pixels; an entry lacks a key, repeats an id or names an unknown category.
        """
        for name, values in (("predicted", pred_map), ("true", gt_map)):
            if values.ndim != 2 or values.dtype.kind not in "iu":
                raise ValueError(f"a {name} panoptic map must be (H, W) integers, got {values.dtype} {values.shape}")
        if pred_map.shape != gt_map.shape:
            raise ValueError(f"predicted map {pred_map.shape} and true map {gt_map.shape} differ in size")
        predicted = Listed.of(pred_segments, places=self._places, name="predicted")
        true = Listed.of(gt_segments, places=self._places, name="true")
        overlaps = shared_pixels(pred_map, gt_map, listed=(predicted, true))
        empty = predicted.ids[1:][overlaps.first_area[1:] == 0]
        if len(empty):
            raise ValueError(f"the predicted segments {empty[:10].tolist()} are listed, but their map has no such id")
        self._add(key, _compare(overlaps, (predicted, true), count=len(self._ids)))

    def compute(self) -> dict[str, Any]:
        """``panoptic/{PQ,SQ,RQ}`` over all categories, ``_th`` over things, ``_st`` over stuff, and ``per_class``.

        All in percent, 0 where nothing occurs. ``per_class`` maps the id of every category that occurs to ``{"name",
        "PQ", "SQ", "RQ", "TP", "FP", "FN"}``, the last three being counts.
        """
        total = self._total()
        seen = total[:, 1:].any(1)
        quality = 100.0 * _quality(total)
        out: dict[str, Any] = {}
        for suffix, group in self._groups().items():
            chosen = seen & group
            means = quality[chosen].mean(0) if chosen.any() else np.zeros(3)
            out |= {f"panoptic/{name}{suffix}": float(v) for name, v in zip(("PQ", "SQ", "RQ"), means, strict=True)}
        out["per_class"] = {
            int(self._ids[place]): {
                "name": self.categories[place]["name"],
                **dict(zip(("PQ", "SQ", "RQ"), quality[place].tolist(), strict=True)),
                **dict(zip(("TP", "FP", "FN"), total[place, 1:].astype(int).tolist(), strict=True)),
            }
            for place in np.flatnonzero(seen)
        }
        return out

    def image_sums(self) -> ClassSums:
        """The metrics of ``compute`` by image, for confidence intervals."""
        entries = self._gathered_by_key()
        rows = np.repeat(np.arange(len(entries)), [len(entry.places) for entry in entries.values()])
        places = np.concatenate([entry.places for entry in entries.values()] or [np.zeros(0, np.int64)])
        iou, tp, fp, fn = np.concatenate([entry.sums for entry in entries.values()] or [np.zeros((0, 4))]).T
        columns = {
            name: sparse_column(rows, places, values=values, shape=(len(entries), len(self._ids)))
            for name, values in (("iou", iou), ("tp", tp), ("whole", tp + 0.5 * fp + 0.5 * fn))
        }
        means = {
            f"panoptic/{name}{suffix}": ClassMean(above, below, "whole", chosen)
            for suffix, chosen in self._groups().items()
            for name, above, below in (("PQ", "iou", "whole"), ("SQ", "iou", "tp"), ("RQ", "tp", "whole"))
        }
        return ClassSums(list(entries), columns, means)

    def _groups(self) -> dict[str, np.ndarray]:
        """Endings of the names and the classes (K,) bool they are about."""
        return {"": np.ones(len(self._ids), bool), "_th": self._isthing, "_st": ~self._isthing}

    def _total(self) -> np.ndarray:
        """(K, 4) sums over all images."""
        total = np.zeros((len(self._ids), 4))
        entries = self._gathered()
        if entries:
            places = np.concatenate([entry.places for entry in entries])
            np.add.at(total, places, np.concatenate([entry.sums for entry in entries]))
        return total


def categories_of(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Entries ``{"id", "name", "isthing"}`` of a vocabulary; ids are positions in it."""
    rows = zip(vocabulary.names, vocabulary.isthing, strict=True)
    return [{"id": place, "name": name, "isthing": isthing} for place, (name, isthing) in enumerate(rows)]


def _compare(overlaps: Overlaps, listed: tuple[Listed, Listed], *, count: int) -> _Counts:
    predicted, true = listed
    first, second = overlaps.first, overlaps.second
    area, void = overlaps.first_area, overlaps.first_inside(second == 0)
    possible = (predicted.places[first] == true.places[second]) & (first > 0) & (second > 0) & ~true.crowd[second]
    p, t, shared = first[possible], second[possible], overlaps.pixels[possible]
    iou = shared / (area[p] + overlaps.second_area[t] - shared - void[p])
    hit = iou > 0.5

    missed = ~true.crowd
    missed[t[hit]] = missed[0] = False
    wrong = 2 * (void + _on_crowd(overlaps, listed, count=count)) <= area
    wrong[p[hit]] = wrong[0] = False

    kinds = (true.places[t[hit]], predicted.places[wrong], true.places[missed])
    sums = np.empty((count, 4))
    sums[:, 0] = np.bincount(kinds[0], weights=iou[hit], minlength=count)
    for column, places in enumerate(kinds, start=1):
        sums[:, column] = np.bincount(places, minlength=count)
    touched = np.unique(np.concatenate(kinds))
    return _Counts(touched, sums[touched])


def _on_crowd(overlaps: Overlaps, listed: tuple[Listed, Listed], *, count: int) -> np.ndarray | int:
    """Pixels of every predicted segment on the crowd of its category, the last one listed."""
    predicted, true = listed
    crowds = np.flatnonzero(true.crowd)
    if not len(crowds):
        return 0
    last = np.full(count, -1)
    np.maximum.at(last, true.places[crowds], true.order[crowds])
    return overlaps.first_inside(true.order[overlaps.second] == last[predicted.places[overlaps.first]])


def _quality(total: np.ndarray) -> np.ndarray:
    """PQ, SQ, RQ (K, 3) of sums (K, 4); 0 for categories that do not occur."""
    iou, tp, fp, fn = total.T
    whole = tp + 0.5 * fp + 0.5 * fn
    parts = ((iou, whole), (iou, tp), (tp, whole))
    return np.stack([np.divide(a, b, out=np.zeros(len(total)), where=b > 0) for a, b in parts], 1)
