"""The losses the public checkpoints were trained with, pair by pair: 1e4 between kinds, sentences x 0.1."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from oracles.released import Prediction
from scipy.optimize import linear_sum_assignment
from torch import Tensor

WEIGHTS = {"word": 2, "sentence": 2, "mask_bce": 5, "mask_dice": 5, "box_l1": 5, "box_giou": 2}


@dataclass
class Truth:
    """Objects of one image: labels, boxes (n, 4) cxcywh of the padded frame, masks (n, H, W) of the padded frame."""

    labels: list[int]
    boxes: Tensor
    masks: Tensor


@dataclass
class Points:
    """Points (P, 2) of one image for the costs, and for the losses: candidates first, then the uniform ones."""

    cost: Tensor
    loss: Tensor
    candidates: int
    important: int


def corners(box: Tensor) -> Tensor:
    return torch.cat([box[:2] - box[2:] / 2, box[:2] + box[2:] / 2])


def giou(first: Tensor, second: Tensor) -> Tensor:
    a, b = corners(first), corners(second)
    wide = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - wide
    hull = (torch.maximum(a[2:], b[2:]) - torch.minimum(a[:2], b[:2])).prod()
    return wide / (union + 1e-6) - (hull - union) / (hull + 1e-6)


def at(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values (P,) of a map (h, w)."""
    return F.grid_sample(maps[None, None], 2 * points[None, None] - 1, align_corners=False)[0, 0, 0]


def mask_terms(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    chance = logits.sigmoid()
    bce = -(labels * F.logsigmoid(logits) + (1 - labels) * F.logsigmoid(-logits)).mean()
    return bce, 1 - (2 * (chance * labels).sum() + 1) / (chance.sum() + labels.sum() + 1)


def match(
    single: Prediction, truth: Truth, points: Points, *, family: str, isthing: Sequence[bool], things: int, stuff: bool
) -> list[tuple[int, int]]:
    """(query, target) pairs of one set of one image."""
    if not truth.labels:
        return []
    cost = torch.zeros(len(single.boxes), len(truth.labels))
    with torch.no_grad():
        for q in range(len(single.boxes)):
            logits = at(single.masks[q], points.cost)
            for g, label in enumerate(truth.labels):
                value = 0.0 if family == "sentence" else -2 * float(single.logits[q].softmax(-1)[label])
                bce, dice = mask_terms(logits, at(truth.masks[g].float(), points.cost))
                value += 5 * float(bce) + 5 * float(dice)
                if not stuff or isthing[label]:
                    box, true = single.boxes[q], truth.boxes[g]
                    value += 5 * float((box - true).abs().sum()) - 2 * float(giou(box, true))
                forbidden = stuff and isthing[label] != (q < things)
                cost[q, g] = 1e4 if forbidden else value
    return list(zip(*(found.tolist() for found in linear_sum_assignment(cost.numpy())), strict=True))


def pair_losses(
    single: Prediction, truth: Truth, points: Points, *, pairs: Sequence[tuple[int, int]], box_of: Callable[[int], bool]
) -> dict[str, Tensor]:
    """Sums over pairs, not yet divided."""
    zero = single.boxes.sum() * 0
    sums = {"mask_bce": zero, "mask_dice": zero, "box_l1": zero, "box_giou": zero}
    for q, g in pairs:
        logits, labels = at(single.masks[q], points.loss), at(truth.masks[g].float(), points.loss)
        sizes = logits.detach().abs().tolist()
        order = sorted(range(points.candidates), key=sizes.__getitem__)[: points.important]
        chosen = [*order, *range(points.candidates, len(points.loss))]
        bce, dice = mask_terms(logits[chosen], labels[chosen])
        sums["mask_bce"], sums["mask_dice"] = sums["mask_bce"] + bce, sums["mask_dice"] + dice
        if box_of(truth.labels[g]):
            sums["box_l1"] = sums["box_l1"] + (single.boxes[q] - truth.boxes[g]).abs().sum()
            sums["box_giou"] = sums["box_giou"] + 1 - giou(single.boxes[q], truth.boxes[g])
    return sums


def set_losses(
    singles: Sequence[Prediction],
    truths: Sequence[Truth],
    points: Sequence[Points],
    *,
    family: str,
    isthing: Sequence[Sequence[bool]],
    things: int,
    stuff: bool,
) -> dict[str, Tensor]:
    """Losses of one prediction set of all images (their lists equally long)."""
    n = max(1, sum(len(truth.labels) for truth in truths))
    total: dict[str, Tensor] = {}
    terms, weights, positives, elements = [], [], [], 0
    for image, (single, truth) in enumerate(zip(singles, truths, strict=True)):
        kinds = {"isthing": isthing[image], "stuff": stuff}
        pairs = match(single, truth, points[image], family=family, things=things, **kinds)
        counted = pair_losses(
            single, truth, points[image], pairs=pairs, box_of=lambda k, b=image: not stuff or isthing[b][k]
        )
        for name, value in counted.items():
            total[name] = total.get(name, 0) + value / n
        wanted = {q: truth.labels[g] for q, g in pairs}
        elements += len(single.boxes)
        for q in range(len(single.boxes)):
            if family == "sentence":
                positives.append((single.logits[q, 0], q in wanted))
                continue
            last = single.logits.shape[1] - 1
            weights.append(1.0 if q in wanted else 0.1)
            terms.append(-weights[-1] * single.logits[q].log_softmax(-1)[wanted.get(q, last)])
    if family == "word":
        return {**total, "word": sum(terms) / sum(weights)}
    balance = max(0.0, (elements - n) / n)
    entropy = [-balance * F.logsigmoid(z) if hit else -F.logsigmoid(-z) for z, hit in positives]
    return {**total, "sentence": 0.1 * sum(entropy) / elements}


def noised_losses(
    singles: Sequence[Prediction],
    truths: Sequence[Truth],
    points: Sequence[Points],
    *,
    groups: int,
    slots: int,
    isthing: Sequence[Sequence[bool]],
    stuff: bool,
) -> dict[str, Tensor]:
    """Losses of one set of noised queries: target j of copy i stands at i * slots + j."""
    n = max(1, sum(len(truth.labels) for truth in truths)) * groups
    total: dict[str, Tensor] = {}
    terms = []
    for image, (single, truth) in enumerate(zip(singles, truths, strict=True)):
        pairs = [(i * slots + j, j) for i in range(groups) for j in range(len(truth.labels))]
        counted = pair_losses(
            single, truth, points[image], pairs=pairs, box_of=lambda k, b=image: not stuff or isthing[b][k]
        )
        for name, value in counted.items():
            total[name] = total.get(name, 0) + value / n
        terms += [-single.logits[q].log_softmax(-1)[truth.labels[g]] for q, g in pairs]
    return {**total, "word": sum(terms) / len(terms)}


def noise(boxes: Tensor, draw: Tensor) -> Tensor:
    """Logits of boxes (n, 4) moved by draws (n, 4) of [0, 1): centres by up to 0.2 sides, sides by up to 0.4."""
    moved = []
    for (cx, cy, w, h), (a, b, c, d) in zip(boxes.tolist(), (2 * draw - 1).tolist(), strict=True):
        box = [cx + a * 0.4 * w / 2, cy + b * 0.4 * h / 2, w + c * 0.4 * w, h + d * 0.4 * h]
        clamped = [min(max(number, 1e-5), 1 - 1e-5) for number in box]
        moved.append([math.log(number / (1 - number)) for number in clamped])
    return torch.tensor(moved).reshape(-1, 4)
