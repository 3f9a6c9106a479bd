"""Boxes and objects that mean the same: hierarchical suppression, and duplicates among masks.

Boxes are XYXY_ABS in pixels of the original image, half open.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mvplm.evaluation.box_accuracy import box_iou

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grounded:
    """A box that a grounder found for a label."""

    label: str
    box: Box
    score: float


@dataclass(frozen=True)
class Suppressed:
    """What was taken out and why: position in the list given, and the reason."""

    place: int
    reason: str


def suppress(found: Sequence[Grounded], *, iou: float, is_above: Callable[[str, str], bool]) -> list[Suppressed]:
    """Hierarchical suppression: which boxes go.

    Boxes are taken by falling score, ties by label and then by box. Of two whose IoU reaches ``iou``, the one with the
    higher score stays when the labels are equal ("same_label" goes), and the descendant stays when one label is a kind
    of the other ("more_general" goes), whatever the scores. Boxes of unrelated labels both stay. What was taken out
    itself takes out nothing.

    Args:
        found: the boxes. iou: least IoU. is_above: whether the second label is a kind of the first.
    """
    gone: dict[int, str] = {}
    kept: list[int] = []
    for place in sorted(range(len(found)), key=lambda i: (-found[i].score, found[i].label, found[i].box)):
        mine = found[place]
        rivals = [other for other in kept if box_iou(found[other].box, mine.box) >= iou]
        if any(found[other].label == mine.label for other in rivals):
            gone[place] = "same_label"
        elif any(is_above(mine.label, found[other].label) for other in rivals):
            gone[place] = "more_general"
        else:
            general = {other for other in rivals if is_above(found[other].label, mine.label)}
            gone |= dict.fromkeys(general, "more_general")
            kept = [other for other in kept if other not in general] + [place]
    return [Suppressed(place, gone[place]) for place in sorted(gone)]


def duplicates(
    labels: Sequence[str], boxes: Sequence[Box], *, masks: Sequence[np.ndarray], iou: float, inside: float
) -> list[int]:
    """Positions of objects that go because a larger one of their label is the same; ties by box, then by position.

    Args:
        labels, boxes: of the objects. masks: bool (H, W) each.
        iou: two are the same above this IoU of boxes or of masks.
        inside: or when this share of either lies in the other.
    """
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    kept: list[int] = []
    gone: list[int] = []
    for place in sorted(range(len(masks)), key=lambda i: (-areas[i], boxes[i], i)):
        same = any(
            labels[other] == labels[place] and _is_same((other, place), boxes, masks=masks, iou=iou, inside=inside)
            for other in kept
        )
        (gone if same else kept).append(place)
    return sorted(gone)


def _is_same(
    pair: tuple[int, int], boxes: Sequence[Box], *, masks: Sequence[np.ndarray], iou: float, inside: float
) -> bool:
    first, second = pair
    if box_iou(boxes[first], boxes[second]) > iou:
        return True
    a, b = masks[first], masks[second]
    shared, areas = np.count_nonzero(a & b), (np.count_nonzero(a), np.count_nonzero(b))
    union = sum(areas) - shared
    return bool(union and (shared / union > iou or shared >= inside * min(areas)))
