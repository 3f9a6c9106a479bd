"""Random prediction problems, and the criterion written as plain loops over sets, images and pairs."""

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from mvplm.structures import Batch, DenoisingOutput, PerceptionOutput, PredictionSet, Target


@dataclass
class Problem:
    output: PerceptionOutput
    batch: Batch


def empty_batch(targets, *, names=3, family="word", frame=(32, 32), valid_sizes=None, original_sizes=None):
    """A batch that carries targets and sizes; prompt and image are placeholders."""
    count = len(targets)
    nothing = torch.zeros(count, 1, dtype=torch.int64)
    sizes = valid_sizes or [frame] * count
    return Batch(
        images=torch.zeros(count, 3, *frame),
        valid=torch.ones(count, *frame, dtype=torch.bool),
        valid_sizes=sizes,
        original_sizes=original_sizes or sizes,
        image_ids=[f"image-{i}" for i in range(count)],
        task="panoptic",
        family=family,
        use_stuff=False,
        input_ids=nothing,
        labels=nothing,
        attention_mask=nothing.bool(),
        image_starts=[0] * count,
        num_image_tokens=1,
        name_spans=torch.zeros(count, names, 2, dtype=torch.int64),
        name_mask=torch.ones(count, names, dtype=torch.bool),
        isthing=torch.ones(count, names, dtype=torch.bool),
        summary_index=nothing[:, 0],
        supervised=nothing[:0, 0],
        supervised_labels=nothing[:0, 0],
        names=[tuple(f"name{i}" for i in range(names))] * count,
        targets=targets,
        max_targets=max(len(target) for target in targets),
    )


def random_target(count, *, names=3, size=(32, 24), masks=True, has_mask=None):
    boxes = torch.cat([torch.rand(count, 2) * 0.4 + 0.3, torch.rand(count, 2) * 0.3 + 0.1], 1)
    bitmap = torch.rand(count, *size) > 0.6 if masks else None
    flags = torch.full((count,), masks) if has_mask is None else torch.tensor(has_mask, dtype=torch.bool)
    return Target(torch.randint(0, names, (count,)), boxes, bitmap, flags)


def random_problem(
    counts, *, family="word", queries=6, things=None, layers=3, names=3, isthing=None, channels=5, groups=0, masks=True
):
    """A problem with ``counts[b]`` targets in image b; ``groups`` > 0 adds denoising queries."""
    batch, columns = len(counts), 1 if family == "sentence" else names + 1
    sizes = [(32, 24), (20, 32)]
    valid = [sizes[b % 2] for b in range(batch)]
    targets = [
        random_target(n, names=1 if family == "sentence" else names, size=valid[b], masks=masks)
        for b, n in enumerate(counts)
    ]

    def normal(*shape):
        return torch.randn(*shape).requires_grad_()

    def boxes(*shape):
        return (torch.rand(*shape, 4) * 0.4 + 0.2).requires_grad_()

    def embeddings(*shape):
        return normal(*shape, channels) if masks else None

    denoising = None
    if groups:
        slots = max(counts)
        index = torch.tensor([[j if j < n else -1 for j in range(slots)] for n in counts])
        shape = (layers, batch, groups * slots)
        denoising = DenoisingOutput(normal(*shape, columns), boxes(*shape), embeddings(*shape), groups, slots, index)
    shape = (layers, batch, queries)
    output = PerceptionOutput(
        logits=normal(*shape, columns),
        boxes=boxes(*shape),
        mask_embeddings=embeddings(*shape),
        mask_features=normal(batch, channels, 8, 8) if masks else None,
        num_things=queries if things is None else things,
        family=family,
        isthing=torch.ones(batch, names).bool() if isthing is None else torch.tensor([isthing] * batch),
        name_mask=torch.ones(batch, 1 if family == "sentence" else names, dtype=torch.bool),
        frame=(32, 32),
        valid_sizes=valid,
        selection=PredictionSet(normal(batch, queries, columns), boxes(batch, queries), embeddings(batch, queries)),
        denoising=denoising,
    )
    width = 1 if family == "sentence" else names
    return Problem(output, empty_batch(targets, names=width, family=family, valid_sizes=valid))


def golden_problem():
    """Three box predictions and two targets with known costs."""
    logits = torch.tensor([[2.0, 0, 0], [0, 2, 0], [0, 0, 0]])[None, None]
    boxes = torch.tensor([[0.3, 0.3, 0.4, 0.4], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 1, 1]])[None, None]
    target = Target(
        torch.tensor([1, 0]), torch.tensor([[0.7, 0.7, 0.4, 0.4], [0.3, 0.3, 0.2, 0.2]]), None, torch.zeros(2).bool()
    )
    output = PerceptionOutput(
        logits=logits,
        boxes=boxes,
        mask_embeddings=None,
        mask_features=None,
        num_things=3,
        family="word",
        isthing=torch.ones(1, 2, dtype=torch.bool),
        name_mask=torch.ones(1, 2, dtype=torch.bool),
        frame=(32, 32),
        valid_sizes=[(32, 32)],
    )
    return Problem(output, empty_batch([target], names=2))


def corners(box):
    cx, cy, w, h = (float(v) for v in box)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def naive_giou(first, second):
    a, b = corners(first), corners(second)
    inter = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union - (hull - union) / hull


def padded_labels(mask, points, frame):
    """Bilinear labels (P,) of one mask, padded to the frame as floats first."""
    h, w = mask.shape
    full = F.pad(mask.float(), (0, frame[1] - w, 0, frame[0] - h))
    return F.grid_sample(full[None, None], 2 * points[None, None] - 1, align_corners=False)[0, 0, 0]


def mask_logits_at(embedding, features, points):
    """Logits (P,) by making the whole stride-4 map first."""
    full = torch.einsum("c,chw->hw", embedding, features)
    return F.grid_sample(full[None, None], 2 * points[None, None] - 1, align_corners=False)[0, 0, 0]


def naive_mask_terms(logits, labels):
    entropy = dice_overlap = dice_size = 0.0
    for z, t in zip(logits.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        entropy -= t * math.log(p) + (1 - t) * math.log(1 - p)
        dice_overlap += p * t
        dice_size += p + t
    return entropy / len(logits), 1 - (2 * dice_overlap + 1) / (dice_size + 1)


@torch.no_grad()
def naive_cost(problem, single, image, query, target, points):
    """Weighted cost of one query for one target."""
    output, wanted = problem.output, problem.batch.targets[image]
    logits, label = single.logits[image, query], int(wanted.labels[target])
    chance = logits.sigmoid()[0] if output.family == "sentence" else logits.softmax(-1)[label]
    cost = -2 * float(chance)
    thing = bool(output.isthing[image, label])
    if thing or output.num_things == output.logits.shape[2]:
        box, true = single.boxes[image, query], wanted.boxes[target]
        cost += 5 * float((box - true).abs().sum()) - 2 * naive_giou(box, true)
    if output.mask_features is not None and bool(wanted.has_mask[target]):
        z = mask_logits_at(single.mask_embeddings[image, query], output.mask_features[image], points)
        t = padded_labels(wanted.masks[target], points, output.frame)
        entropy, dice = naive_mask_terms(z, t)
        cost += 5 * entropy + 5 * dice
    return cost


def best_assignment(cost):
    """Minimum over all injections of targets into queries; cost[q][t]."""
    queries, targets = len(cost), len(cost[0]) if cost else 0
    choices = itertools.permutations(range(queries), targets)
    best = min(choices, key=lambda order: sum(cost[q][t] for t, q in enumerate(order)))
    return {(q, t) for t, q in enumerate(best)}


@torch.no_grad()
def naive_pair_losses(problem, single, image, pairs, points, budget):
    """Summed (bce, dice, l1, giou) over (query, target) pairs of one image, before dividing by n."""
    output, wanted = problem.output, problem.batch.targets[image]
    sums = [0.0, 0.0, 0.0, 0.0]
    for query, target in pairs:
        thing = bool(output.isthing[image, int(wanted.labels[target])])
        if thing or output.num_things == output.logits.shape[2]:
            box, true = single.boxes[image, query], wanted.boxes[target]
            sums[2] += float((box - true).abs().sum())
            sums[3] += 1 - naive_giou(box, true)
        if output.mask_features is None or not bool(wanted.has_mask[target]):
            continue
        z = mask_logits_at(single.mask_embeddings[image, query], output.mask_features[image], points)
        t = padded_labels(wanted.masks[target], points, output.frame)
        order = sorted(range(budget.candidates), key=lambda i, z=z: abs(float(z[i])))[: budget.important]
        chosen = order + list(range(budget.candidates, budget.drawn))
        entropy, dice = naive_mask_terms(z[chosen], t[chosen])
        sums[0] += entropy
        sums[1] += dice
    return sums
