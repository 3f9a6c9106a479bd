"""Writers of predictions, one picture at a time, in the forms that ``read_predictions`` reads.

Each is a ``with`` block; its file appears when the block ends without an error. A picture or expression that is added a
second time is left out. For panoptic answers see ``PanopticWriter``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mvplm.data.streamed_list import StreamedList
from mvplm.evaluation.expressions import ExpressionAnswer
from mvplm.structures import Expression
from mvplm.structures.masks import encode_mask


class DetectionWriter(StreamedList):
    """COCO results."""

    def write(self, image_id: int | str, finds: Sequence[Mapping[str, Any]], *, place: int = 0) -> None:
        """Add an image.

        Args:
            image_id: of the image.
            finds: entries ``{"category_id", "score", "bbox" and/or "segmentation"}``; numbers are not rounded.
            place: of the image in its data set.
        """
        self.add(image_id, ({**find, "image_id": image_id} for find in finds), place=place)


class SemanticWriter(StreamedList):
    """Semantic maps as detectron2 writes them: an RLE for each category of an image."""

    def write(self, image_id: int | str, class_map: np.ndarray, *, category_ids: Sequence[int], place: int = 0) -> None:
        """Add an image.

        Args:
            image_id: of the image.
            class_map: (H, W) positions in ``category_ids``; what lies outside of it is nothing.
            category_ids: of the data set.
            place: of the image in its data set.
        """
        known = class_map[(class_map >= 0) & (class_map < len(category_ids))]
        present = np.flatnonzero(np.bincount(known, minlength=1))
        entries = (
            {
                "image_id": image_id,
                "category_id": int(category_ids[index]),
                "segmentation": encode_mask(class_map == index),
            }
            for index in present
        )
        self.add(image_id, entries, place=place)


class ReferringWriter(StreamedList):
    """Answers to expressions."""

    def write(self, image_id: int | str, expression: Expression, *, answer: ExpressionAnswer, place: int = 0) -> None:
        """Add an expression.

        Args:
            image_id: of its image. expression: the expression. answer: to it.
            place: of the image in its data set.
        """
        entry: dict[str, Any] = {"image_id": image_id, "expression": expression.text, "status": answer.status}
        if expression.id is not None:
            entry["ref_id"] = expression.id
        if answer.has_masks:
            entry |= {"segmentation": _codes(answer.masks), "best": _codes(answer.best)}
        if answer.has_box:
            entry["box"] = None if answer.box is None else list(answer.box)
        self.add((image_id, expression.text, expression.id), [entry], place=place)


def _codes(masks: np.ndarray | None) -> Any:
    """RLE of a mask (H, W), a list of them for (n, H, W), None for none."""
    if masks is None:
        return None
    return encode_mask(masks) if masks.ndim == 2 else [encode_mask(mask) for mask in masks]
