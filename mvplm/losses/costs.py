"""Costs of giving a prediction to a target. No gradients; float32. Small is good."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mvplm.structures.boxes import BoxFormat, convert_boxes, paired_generalized_box_iou


def softmax_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the probability of each target's name.

    Args:
        logits: (B, Q, K+1), last column no-object, padded names -inf. labels: (B, M) int64.

    Returns:
        (B, Q, M).
    """
    return -_pick(logits.float().softmax(-1), labels)


def focal_cost(logits: Tensor, labels: Tensor, *, alpha: float = 0.25, eps: float = 1e-6) -> Tensor:
    """Focal cost (B, Q, M) of independent name logits (B, Q, K or more) for labels (B, M). Source: Deformable-DETR."""
    p = _pick(logits.float().sigmoid(), labels)
    return alpha * (1 - p) ** 2 * -(p + eps).log() - (1 - alpha) * p**2 * -(1 - p + eps).log()


def sentence_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Minus the presence probability of each query, alike for every target: (B, Q, M) from (B, Q, 1) and (B, M)."""
    return -logits.float().sigmoid().expand(-1, -1, labels.shape[1])


def box_l1_cost(boxes: Tensor, targets: Tensor) -> Tensor:
    """Sum of absolute differences (B, Q, M) of CXCYWH_NORM boxes (B, Q, 4) and (B, M, 4)."""
    return (boxes.float()[:, :, None] - targets.float()[:, None]).abs().sum(-1)


def box_giou_cost(boxes: Tensor, targets: Tensor) -> Tensor:
    """Minus the generalised IoU (B, Q, M) of CXCYWH_NORM boxes (B, Q, 4) and (B, M, 4)."""
    first = convert_boxes(boxes.float(), BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_NORM)
    second = convert_boxes(targets.float(), BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_NORM)
    return -paired_generalized_box_iou(first[:, :, None], second[:, None])


def mask_bce_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy (Q, M) of mask logits (Q, P) against labels (M, P) at the same P points."""
    spread = F.softplus(logits).sum(-1, keepdim=True)
    return (spread - logits @ labels.t()) / max(logits.shape[-1], 1)


def mask_dice_cost(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice cost (Q, M) of mask logits (Q, P) against labels (M, P) at the same P points, smoothed by 1."""
    probability = logits.sigmoid()
    sizes = probability.sum(-1, keepdim=True) + labels.sum(-1)
    return 1 - (2 * (probability @ labels.t()) + 1) / (sizes + 1)


def _pick(values: Tensor, labels: Tensor) -> Tensor:
    index = labels[:, None].expand(-1, values.shape[1], -1)
    return torch.gather(values, 2, index)
