"""Boxes as questions: what a user draws, and the same for a batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvplm.structures.boxes import BoxFormat, box_area, clip_boxes, convert_boxes


@dataclass(frozen=True, eq=False)
class BoxPrompts:
    """Boxes in one image whose masks (and names) are wanted.

    Attributes:
        boxes: (P, 4) float32, or anything that becomes it: nested lists, an array, a tensor.
        names: the name of what is in each box, or None when that is open.
        format: what the four numbers mean; pixels are those of the original image.

    Raises:
        ValueError: no boxes, another shape, numbers that are not finite, another number of names.
    """

    boxes: Any
    names: Sequence[str] | None = None
    format: BoxFormat = BoxFormat.XYXY_ABS

    def __post_init__(self) -> None:
        boxes = _as_boxes(self.boxes)
        names = self.names
        if isinstance(names, str):
            raise ValueError(f"names must hold one name per box, got the string {names!r}")
        if names is not None and len(names) != len(boxes):
            raise ValueError(f"{len(boxes)} boxes need as many names, got {len(names)}")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "names", None if names is None else tuple(names))
        object.__setattr__(self, "format", BoxFormat(self.format))

    def __len__(self) -> int:
        return len(self.boxes)

    def fractions(self, size: tuple[int, int]) -> Tensor:
        """(P, 4) float32 CXCYWH_NORM, clipped to an image of ``size`` (H, W).

        Raises:
            ValueError: a box is inverted, has no area, or lies outside the image.
        """
        corners = convert_boxes(self.boxes, self.format, target=BoxFormat.XYXY_ABS, size=size)
        for place, (x1, y1, x2, y2) in enumerate(corners.tolist()):
            if x2 <= x1 or y2 <= y1:
                raise ValueError(f"box {place} must have x2 > x1 and y2 > y1, got ({x1:g}, {y1:g}, {x2:g}, {y2:g})")
        clipped = clip_boxes(corners, size)
        outside = (box_area(clipped) <= 0).nonzero().flatten().tolist()
        if outside:
            box = ", ".join(f"{value:g}" for value in corners[outside[0]].tolist())
            raise ValueError(f"box {outside[0]} ({box}) lies outside the image of {size[1]} x {size[0]} pixels")
        return convert_boxes(clipped, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM, size=size)


@dataclass
class PromptedBoxes:
    """Box prompts of a batch.

    Attributes:
        boxes: (B, P, 4) float32 CXCYWH_NORM of the un-padded image.
        labels: (B, P) int64 position of each box's name in the row's list; -1: the word that stands for anything.
        counts: B host integers, how many of the P boxes of a row are real; they come first.
        nameless: whether any real box has no name (known on the host).
    """

    boxes: Tensor
    labels: Tensor
    counts: list[int]
    nameless: bool

    @classmethod
    def of(cls, boxes: Sequence[Tensor], labels: Sequence[Sequence[int]]) -> "PromptedBoxes":
        """Pad rows of boxes (P_b, 4) CXCYWH_NORM and their labels to a common number."""
        counts = [len(row) for row in boxes]
        padded = torch.nn.utils.rnn.pad_sequence(list(boxes), batch_first=True)
        numbers = torch.full(padded.shape[:2], -1, dtype=torch.int64)
        for row, given in zip(numbers, labels, strict=True):
            row[: len(given)] = torch.tensor(given, dtype=torch.int64)
        return cls(padded, numbers, counts, any(label < 0 for given in labels for label in given))


def _as_array(given: Any) -> "np.ndarray[Any, Any]":
    return np.array(given, dtype=np.float32)


def _as_boxes(given: Any) -> Tensor:
    try:
        boxes = given.detach().cpu().float() if isinstance(given, Tensor) else torch.from_numpy(_as_array(given))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"boxes must be numbers of shape (P, 4), got {given!r}") from error
    if boxes.numel() == 0:
        raise ValueError("boxes is empty: give at least one box")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must have shape (P, 4), got {tuple(boxes.shape)}")
    if not bool(torch.isfinite(boxes).all()):
        raise ValueError(f"boxes must be finite numbers, got {boxes[~torch.isfinite(boxes).all(1)][0].tolist()}")
    return boxes
