"""The truth of a record in the forms the metrics want."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.evaluation.detection import TrueObject
from mvplm.structures.masks import decode_mask, mask_area
from mvplm.structures.record import Annotation, Expression, Record


@dataclass(frozen=True)
class TruePanoptic:
    """segment_map: (H, W) int32, 0 void. segments: its entries ``{"id", "category_id", "iscrowd"}``."""

    segment_map: np.ndarray
    segments: list[dict[str, Any]]


def true_panoptic(record: Record) -> TruePanoptic:
    """Panoptic truth of a record whose annotations all carry masks and labels.

    Ids are positions + 1, category ids are positions in the vocabulary.
    """
    segment_map = np.zeros(record.size, np.int32)
    segments = []
    for place, annotation in enumerate(record.annotations, start=1):
        if annotation.segmentation is None or annotation.label is None:
            raise ValueError(f"image {record.image_id}: panoptic truth needs masks and labels on every annotation")
        segment_map[decode_mask(annotation.segmentation, record.size)] = place
        segments.append({"id": place, "category_id": annotation.label, "iscrowd": int(annotation.iscrowd)})
    return TruePanoptic(segment_map, segments)


def true_semantic(record: Record) -> np.ndarray:
    """Class positions (H, W) int64 of a record, -1 where nothing is annotated."""
    class_map = np.full(record.size, -1, np.int64)
    for annotation in record.annotations:
        if annotation.segmentation is not None and annotation.label is not None:
            class_map[decode_mask(annotation.segmentation, record.size)] = annotation.label
    return class_map


def true_objects(record: Record) -> list[TrueObject]:
    """The labelled things of a record."""
    return [
        TrueObject(
            annotation.box,
            annotation.label,
            annotation.segmentation,
            annotation.iscrowd,
            _area(annotation, record.size),
        )
        for annotation in record.annotations
        if annotation.isthing and annotation.label is not None
    ]


def _area(annotation: Annotation, size: tuple[int, int]) -> float | None:
    if annotation.area is not None or annotation.segmentation is None:
        return annotation.area
    return mask_area(annotation.segmentation, size)


def incomplete_classes(record: Record) -> set[int]:
    """Positions of names of which only some objects are marked: those with a crowd over the whole picture.

    What else is found of them is neither right nor wrong, wherever it lies (LVIS, ``not_exhaustive_category_ids``).
    """
    if record.exhaustive:
        return set()
    everywhere = (0, 0, record.size[1], record.size[0])
    return {a.label for a in record.annotations if a.iscrowd and a.label is not None and tuple(a.box) == everywhere}


def scored_classes(record: Record) -> set[int] | None:
    """Positions of names that predictions are judged for; None for all of them.

    A record that is not exhaustive says something only about names it marks and names it lists as absent: whatever
    else is found may be right (Gupta et al., "LVIS", federated annotation).
    """
    if record.exhaustive or record.vocabulary is None:
        return None
    return {annotation.label for annotation in record.annotations if annotation.label is not None} | set(record.absent)


def true_mask(record: Record, expression: Expression) -> np.ndarray | None:
    """Union (H, W) bool of the masks an expression refers to; None when it has no target.

    Raises:
        ValueError: a target has no mask.
    """
    masks = true_masks(record, expression)
    return None if masks is None else masks.any(0)


def true_masks(record: Record, expression: Expression, *, ignore_label: int | None = None) -> np.ndarray | None:
    """The masks (n, H, W) an expression refers to, bool; None when it has no target.

    Args:
        record: the image.
        expression: one of its expressions.
        ignore_label: mark the crowd regions of the record by this value. The masks are then uint8, and an expression
            without a target has one without pixels, so that the regions are known there, too.

    Raises:
        ValueError: a target has no mask.
    """
    masks = [_decoded(record, expression, place=place) for place in expression.targets]
    if ignore_label is None:
        return np.stack(masks) if masks else None
    labels = np.stack(masks or [np.zeros(record.size, bool)]).astype(np.uint8)
    for annotation in record.annotations:
        if annotation.iscrowd and annotation.segmentation is not None:
            labels[:, decode_mask(annotation.segmentation, record.size)] = ignore_label
    return labels


def _decoded(record: Record, expression: Expression, *, place: int) -> np.ndarray:
    segmentation = record.annotations[place].segmentation
    if segmentation is None:
        raise ValueError(f"image {record.image_id}: a target of {expression.text!r} has no mask")
    return decode_mask(segmentation, record.size)
