"""Loss terms as plain functions: classification, presence, masks and boxes. Everything is float32 and unweighted."""

import torch.nn.functional as F
from torch import Tensor

from mvplm.structures.boxes import BoxFormat, convert_boxes, paired_generalized_box_iou


def softmax_cross_entropy(
    logits: Tensor, classes: Tensor, *, no_object_weight: float = 0.1, total: Tensor | None = None
) -> Tensor:
    """Weighted mean cross-entropy over names and no-object.

    Args:
        logits: (R, K+1) float32, last column no-object, padded names -inf.
        classes: (R,) int64 in [0, K]; K means no object.
        no_object_weight: weight of rows whose class is no-object; every name weighs 1.
        total: scalar that stands for the sum of weights, as its mean over several processes; None: that of these rows.

    Returns:
        Scalar: sum of weighted terms over the sum of weights. Zero rows give an exact zero connected to ``logits``.

    Source: MVP-LM, section 3.2; DETR.
    """
    if not len(logits):
        return logits.sum()
    weight = logits.new_ones(logits.shape[-1])
    weight[-1] = no_object_weight
    if total is None:
        return F.cross_entropy(logits, classes, weight=weight)
    return F.cross_entropy(logits, classes, weight=weight, reduction="sum") / total


def sigmoid_focal(logits: Tensor, targets: Tensor, *, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss per element, same shape as ``logits``; ``targets`` are 0 or 1. Source: RetinaNet."""
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = probability * (1 - targets) + (1 - probability) * targets
    return (alpha * targets + (1 - alpha) * (1 - targets)) * missed**gamma * entropy


def sentence_bce(logits: Tensor, targets: Tensor, *, count: Tensor, total: Tensor | None = None) -> Tensor:
    """Mean balanced cross-entropy of "is this query what the sentence means?".

    Args:
        logits: (B, Q) float32. targets: (B, Q) 0 or 1.
        count: scalar n, the mean number of targets per process; positives weigh (B * Q - n) / n.
        total: scalar that stands for B * Q, as its mean over several processes; None: the elements given.

    Returns:
        Scalar mean over all elements.

    Source: MVP-LM, section 3.2.
    """
    elements = logits.numel() if total is None else total
    positive_weight = ((elements - count) / count).clamp(min=0)
    if total is None:
        return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive_weight)
    values = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=positive_weight, reduction="sum")
    return values / total


def mask_bce_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy (R,) of mask logits (R, P) against labels (R, P) in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1)


def mask_dice_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice loss (R,) of mask logits (R, P) against labels (R, P), smoothed by 1 in numerator and denominator."""
    probability = logits.sigmoid()
    overlap = (probability * labels).sum(-1)
    return 1 - (2 * overlap + 1) / (probability.sum(-1) + labels.sum(-1) + 1)


def box_l1_rows(boxes: Tensor, targets: Tensor) -> Tensor:
    """Sum of absolute differences (R,) of CXCYWH_NORM boxes (R, 4) taken pair by pair."""
    return (boxes - targets).abs().sum(-1)


def box_giou_rows(boxes: Tensor, targets: Tensor) -> Tensor:
    """1 - generalised IoU (R,) of CXCYWH_NORM boxes (R, 4) taken pair by pair."""
    first = convert_boxes(boxes, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_NORM)
    second = convert_boxes(targets, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_NORM)
    return 1 - paired_generalized_box_iou(first, second)


def segment_sum(values: Tensor, segment: Tensor, *, count: int) -> Tensor:
    """Sums (count,) of ``values`` (R,) that share an index in ``segment`` (R,) int64."""
    return values.new_zeros(count).index_add(0, segment, values)
