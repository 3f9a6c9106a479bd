"""Panoptic quality as its paper and the published evaluation describe it, by plain loops over pairs of segments.

Written apart from ``mvplm.evaluation``: the tests compare the two, the benchmark ``panoptic_quality`` times them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

_IDS = 1 << 24
PairCounter = Callable[[np.ndarray, np.ndarray], dict[tuple[int, int], int]]


class NaivePanopticQuality:
    """The same calls as ``mvplm.evaluation.PanopticQuality``; nothing is checked.

    Args:
        categories: entries ``{"id", "name", "isthing"}``.
        pairs: how pixels are counted, ``pairs_by_masks`` or ``pairs_by_codes``.
    """

    def __init__(self, categories: Sequence[Mapping[str, Any]], pairs: PairCounter | None = None) -> None:
        self.pairs = pairs or pairs_by_masks
        self.isthing = {category["id"]: bool(category["isthing"]) for category in categories}
        self.counts = {id_: {"iou": 0.0, "tp": 0, "fp": 0, "fn": 0} for id_ in self.isthing}

    def update(
        self, pred_map: np.ndarray, pred_segments: Sequence[dict], gt_map: np.ndarray, gt_segments: Sequence[dict]
    ) -> None:
        """Add one image: maps (H, W) of ids below 2^24, and their entries."""
        shared = self.pairs(pred_map, gt_map)
        gt_area, pred_area = _areas(shared, 0), _areas(shared, 1)
        matched_pred, matched_gt = set(), set()
        for true in gt_segments:
            for guess in pred_segments:
                if true.get("iscrowd", 0) or true["category_id"] != guess["category_id"]:
                    continue
                both = shared.get((true["id"], guess["id"]), 0)
                void = shared.get((0, guess["id"]), 0)
                union = pred_area[guess["id"]] + gt_area.get(true["id"], 0) - both - void
                if both and both / union > 0.5:
                    self.counts[true["category_id"]]["tp"] += 1
                    self.counts[true["category_id"]]["iou"] += both / union
                    matched_pred.add(guess["id"])
                    matched_gt.add(true["id"])
        crowds = {}
        for true in gt_segments:
            if true.get("iscrowd", 0):
                crowds[true["category_id"]] = true["id"]
            elif true["id"] not in matched_gt:
                self.counts[true["category_id"]]["fn"] += 1
        for guess in pred_segments:
            if guess["id"] in matched_pred:
                continue
            ignored = shared.get((0, guess["id"]), 0)
            if guess["category_id"] in crowds:
                ignored += shared.get((crowds[guess["category_id"]], guess["id"]), 0)
            if ignored / pred_area[guess["id"]] <= 0.5:
                self.counts[guess["category_id"]]["fp"] += 1

    def compute(self) -> dict[str, float]:
        """``panoptic/{PQ,SQ,RQ}`` with and without ``_th`` and ``_st``, in percent."""
        out = {}
        for suffix, wanted in (("", (True, False)), ("_th", (True,)), ("_st", (False,))):
            rows = [
                counts
                for id_, counts in self.counts.items()
                if self.isthing[id_] in wanted and counts["tp"] + counts["fp"] + counts["fn"] > 0
            ]
            halves = [counts["tp"] + 0.5 * counts["fp"] + 0.5 * counts["fn"] for counts in rows]
            values = {
                "PQ": [counts["iou"] / half for counts, half in zip(rows, halves, strict=True)],
                "SQ": [counts["iou"] / counts["tp"] if counts["tp"] else 0.0 for counts in rows],
                "RQ": [counts["tp"] / half for counts, half in zip(rows, halves, strict=True)],
            }
            for name, each in values.items():
                out[f"panoptic/{name}{suffix}"] = 100.0 * sum(each) / len(each) if each else 0.0
        return out


def pairs_by_masks(pred_map: np.ndarray, gt_map: np.ndarray) -> dict[tuple[int, int], int]:
    """Pixels by (true id, predicted id), from a mask for every segment."""
    pred_masks = {int(id_): pred_map == id_ for id_ in np.unique(pred_map)}
    pairs = {}
    for true in np.unique(gt_map).tolist():
        mask = gt_map == true
        for guess, other in pred_masks.items():
            if count := np.count_nonzero(mask & other):
                pairs[true, guess] = count
    return pairs


def pairs_by_codes(pred_map: np.ndarray, gt_map: np.ndarray) -> dict[tuple[int, int], int]:
    """The same from one number per pixel, sorted, as the published code has it; for maps of very many segments."""
    codes, counts = np.unique(gt_map.astype(np.uint64) * _IDS + pred_map.astype(np.uint64), return_counts=True)
    return {divmod(code, _IDS): count for code, count in zip(codes.tolist(), counts.tolist(), strict=True)}


def _areas(pairs: dict[tuple[int, int], int], side: int) -> dict[int, int]:
    """Pixels by true id (side 0) or by predicted id (side 1)."""
    areas: dict[int, int] = {}
    for pair, count in pairs.items():
        areas[pair[side]] = areas.get(pair[side], 0) + count
    return areas
