"""Boxes and the frames they live in. Every conversion between box formats of the project is here."""

from enum import Enum

import torch
from torch import Tensor

_EPS = 1e-6


class BoxFormat(str, Enum):
    """How the four numbers of a box are meant.

    ``*_ABS`` are pixels with edges at integers (a box around one pixel has width 1); ``*_NORM`` are fractions of the
    un-padded image, so one box means the same place at every resolution. ``XYXY_1000`` are thousandths of it, as
    language models write them. ``CXCYWH_PADDED`` are fractions of the padded network input, the frame of some older
    checkpoints.
    """

    XYXY_ABS = "xyxy_abs"
    XYWH_ABS = "xywh_abs"
    CXCYWH_ABS = "cxcywh_abs"
    XYXY_NORM = "xyxy_norm"
    XYXY_1000 = "xyxy_1000"
    CXCYWH_NORM = "cxcywh_norm"
    CXCYWH_PADDED = "cxcywh_padded"

    @property
    def normalised(self) -> bool:
        """True when the numbers are fractions (or thousandths) rather than pixels."""
        return not self.value.endswith("_abs")

    @property
    def centred(self) -> bool:
        """True when the numbers are centre and sides."""
        return self in (BoxFormat.CXCYWH_ABS, BoxFormat.CXCYWH_NORM, BoxFormat.CXCYWH_PADDED)


def _scale(boxes: Tensor, size: tuple[float, float]) -> Tensor:
    height, width = size
    return torch.tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)


def convert_boxes(
    boxes: Tensor,
    source: BoxFormat,
    *,
    target: BoxFormat,
    size: tuple[int, int] | None = None,
    share: tuple[float, float] | None = None,
) -> Tensor:
    """Convert boxes (..., 4) from one format to another; the input is left untouched.

    Args:
        boxes: (..., 4) floating point boxes in ``source`` format.
        source: format of ``boxes``.
        target: format wanted.
        size: (H, W) of the un-padded image in pixels; needed when exactly one of the formats is normalised.
        share: (height, width) of the un-padded image as fractions of the padded frame; needed when exactly one of the
            formats is ``CXCYWH_PADDED``. See :func:`padded_share`.

    Raises:
        ValueError: wrong last dimension, integer boxes, or ``size`` or ``share`` missing where frames meet.
    """
    source, target = BoxFormat(source), BoxFormat(target)
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"boxes must have a last dimension of 4, got shape {tuple(boxes.shape)}")
    if not boxes.is_floating_point():
        raise ValueError(f"boxes must be floating point, got {boxes.dtype}")
    if source is target:
        return boxes
    if source.normalised != target.normalised and size is None:
        raise ValueError(f"converting {source.value} to {target.value} needs size=(H, W)")
    padded = BoxFormat.CXCYWH_PADDED in (source, target)
    if padded and share is None:
        raise ValueError(f"converting {source.value} to {target.value} needs share=(height, width)")
    if share is not None and source is BoxFormat.CXCYWH_PADDED:
        boxes = boxes / _scale(boxes, share)
    if source is BoxFormat.XYXY_1000:
        boxes = boxes / 1000
    a, b, c, d = boxes.unbind(-1)
    if source.centred:
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    elif source is BoxFormat.XYWH_ABS:
        c, d = a + c, b + d
    corners = torch.stack([a, b, c, d], -1)
    if size is not None and source.normalised != target.normalised:
        scale = _scale(boxes, size)
        corners = corners * scale if source.normalised else corners / scale
    if target in (BoxFormat.XYXY_ABS, BoxFormat.XYXY_NORM):
        return corners
    if target is BoxFormat.XYXY_1000:
        return corners * 1000
    x1, y1, x2, y2 = corners.unbind(-1)
    if target is BoxFormat.XYWH_ABS:
        return torch.stack([x1, y1, x2 - x1, y2 - y1], -1)
    centred = torch.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], -1)
    if share is not None and target is BoxFormat.CXCYWH_PADDED:
        return centred * _scale(boxes, share)
    return centred


def padded_share(valid: tuple[int, int], frame: tuple[int, int]) -> tuple[float, float]:
    """(height, width) of an un-padded input of ``valid`` (h, w) pixels as fractions of its padded frame (H, W)."""
    return valid[0] / frame[0], valid[1] / frame[1]


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Clip XYXY_ABS boxes (..., 4) to an image of ``size`` (H, W); returns a new tensor."""
    return torch.minimum(boxes.clamp(min=0), _scale(boxes, size))


def box_area(boxes: Tensor) -> Tensor:
    """Area (...,) of corner boxes (..., 4); inverted boxes have area 0."""
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Pairwise IoU (N, M) of corner boxes (N, 4) and (M, 4) of one frame."""
    overlap, union = _overlap_union(first[:, None], second[None])
    return overlap / (union + _EPS)


def generalized_box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Pairwise generalised IoU (N, M) of corner boxes (N, 4) and (M, 4); denominators carry +1e-6."""
    return _giou(first[:, None], second[None])


def paired_generalized_box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU (...,) of corner boxes (..., 4) taken pair by pair."""
    return _giou(first, second)


def _overlap_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    sides = (high - low).clamp(min=0)
    overlap = sides[..., 0] * sides[..., 1]
    return overlap, box_area(first) + box_area(second) - overlap


def _giou(first: Tensor, second: Tensor) -> Tensor:
    overlap, union = _overlap_union(first, second)
    low = torch.minimum(first[..., :2], second[..., :2])
    high = torch.maximum(first[..., 2:], second[..., 2:])
    hull_sides = (high - low).clamp(min=0)
    hull = hull_sides[..., 0] * hull_sides[..., 1]
    return overlap / (union + _EPS) - (hull - union) / (hull + _EPS)


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Tight XYXY_ABS boxes (N, 4) float32 of boolean masks (N, H, W), on pixel edges (max + 1); zeros when empty."""
    if masks.ndim != 3:
        raise ValueError(f"masks must have shape (N, H, W), got {tuple(masks.shape)}")
    masks = masks.bool()
    rows, columns = masks.any(2), masks.any(1)
    present = rows.any(1)

    def extent(flags: Tensor) -> tuple[Tensor, Tensor]:
        first = flags.float().argmax(1) if flags.shape[1] else flags.new_zeros(len(flags), dtype=torch.long)
        last = flags.shape[1] - flags.flip(1).float().argmax(1) if flags.shape[1] else first
        return first, last

    y1, y2 = extent(rows)
    x1, x2 = extent(columns)
    boxes = torch.stack([x1, y1, x2, y2], 1).float()
    return torch.where(present[:, None], boxes, torch.zeros_like(boxes))
