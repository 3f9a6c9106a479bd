"""Finds beside true objects, box by box: right ones, confused ones, and how each picture fares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mvplm.evaluation import DetectionRules
from mvplm.evaluation.truth import scored_classes, true_objects
from mvplm.measuring.scorers import DetectionScorer
from mvplm.structures import Record

IOU = 0.5
"""A find is right when its box has this IoU with a true object of its name that no better find has."""


@dataclass(frozen=True)
class Matches:
    """F finds over all images, those that lie on a crowd of their name left out.

    Attributes:
        image: (F,) place of the image. found: (F,) position of the name. score: (F,).
        iou: (F,) largest with a true object of its name. right: (F,) bool.
        mistaken: (F,) position of the other name whose object it lies on, -1 where it is right or lies on none.
        objects: (images, K) true objects, crowds left out.
    """

    image: np.ndarray
    found: np.ndarray
    score: np.ndarray
    iou: np.ndarray
    right: np.ndarray
    mistaken: np.ndarray
    objects: np.ndarray

    @cached_property
    def threshold(self) -> float:
        """The score from which on finds together have the largest F1."""
        if not self.right.any():
            return 0.0
        order = np.argsort(-self.score, kind="stable")
        quality = 2 * np.cumsum(self.right[order]) / (np.arange(1, len(order) + 1) + self.objects.sum())
        # Finds of one score are taken or left together.
        last = np.append(self.score[order][1:] != self.score[order][:-1], True)
        return float(self.score[order][np.where(last, quality, -1).argmax()])

    def by_image(self) -> np.ndarray:
        """F1 (images,) in percent of finds from the threshold on; NaN where there is nothing to find and no find."""
        taken = self.score >= self.threshold
        count = len(self.objects)
        hits = np.bincount(self.image[taken & self.right], minlength=count)
        both = np.bincount(self.image[taken], minlength=count) + self.objects.sum(1)
        return np.divide(200.0 * hits, both, out=np.full(count, np.nan), where=both > 0)

    def confusion(self) -> np.ndarray:
        """Finds (K, K) from the threshold on, true names by found ones."""
        table = np.zeros((self.objects.shape[1],) * 2, np.int64)
        taken = self.score >= self.threshold
        true = np.where(self.right, self.found, self.mistaken)
        known = taken & (true >= 0)
        np.add.at(table, (true[known], self.found[known]), 1)
        return table


def match_finds(scorer: DetectionScorer, records: Sequence[Record], *, names: int) -> Matches:
    """Match the finds of every record, each name by itself, best scores first.

    Args:
        scorer: of the predictions. records: the truth. names: how many there are.
    """
    rows: list[tuple[Any, ...]] = []
    objects = np.zeros((len(records), names), np.int64)
    for place, record in enumerate(records):
        truth, judged = true_objects(record), scored_classes(record)
        np.add.at(objects[place], [entry.class_index for entry in truth if not entry.iscrowd], 1)
        finds = _counted(scorer.finds(record), scorer.groups.ap.rules)
        kept = [find for find in finds if judged is None or find["category_id"] in judged]
        rows += [(place, *row) for row in _match(kept, truth)]
    columns = [np.array(column) for column in zip(*rows, strict=True)] or [np.zeros(0, int)] * 6
    image, found, score, iou, right, mistaken = columns
    return Matches(image, found, score.astype(float), iou.astype(float), right.astype(bool), mistaken, objects)


def _counted(finds: Sequence[dict[str, Any]], rules: DetectionRules) -> list[dict[str, Any]]:
    """Finds of one picture within the limit of the rules, best first."""
    ordered = sorted(finds, key=lambda entry: -entry["score"])
    if rules.whole_picture:
        return ordered[: rules.max_detections]
    seen: Counter[int] = Counter()
    kept = []
    for find in ordered:
        seen[find["category_id"]] += 1
        if seen[find["category_id"]] <= rules.max_detections:
            kept.append(find)
    return kept


def _match(finds: Sequence[dict[str, Any]], truth: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Name, score, IoU, right and mistaken name of every find that counts."""
    from pycocotools import mask as coco

    if not finds:
        return []
    crowd = np.array([entry.iscrowd for entry in truth], bool)
    names = np.array([entry.class_index for entry in truth], int)
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in (entry.box for entry in truth)]
    ious = np.zeros((len(finds), 0))
    if boxes:
        ious = coco.iou(np.array([f["bbox"] for f in finds], float), np.array(boxes, float), crowd.astype(np.uint8))
    free = ~crowd
    rows = []
    for find, overlap in zip(finds, ious, strict=True):
        own = names == find["category_id"]
        best = _largest(overlap, own & free)
        right = best >= 0 and overlap[best] >= IOU
        if right:
            free[best] = False
        elif (overlap[own & crowd] >= IOU).any():
            continue
        nearest = _largest(overlap, ~crowd)
        wrong = not right and nearest >= 0 and overlap[nearest] >= IOU and not own[nearest]
        iou = overlap[own & ~crowd].max(initial=0.0)
        rows.append((find["category_id"], find["score"], iou, right, names[nearest] if wrong else -1))
    return rows


def _largest(overlap: np.ndarray, allowed: np.ndarray) -> int:
    """Place of the largest allowed value, -1 where none is allowed."""
    return int(np.where(allowed, overlap, -1.0).argmax()) if allowed.any() else -1
