"""Matching: which query answers for which target, solved for all prediction sets of a batch at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mvplm.losses import costs
from mvplm.losses.points import sample_features, uniform_points
from mvplm.losses.targets import TargetTable, collect_targets
from mvplm.structures.choices import check_choice
from mvplm.structures.outputs import PerceptionOutput, PredictionSet
from mvplm.structures.sample import Target

CLASSIFIERS = ("softmax_ce", "sigmoid_focal")
SPLITS = ("partition", "cost_1e4")
_NON_FINITE_COST = 1e6
_FORBIDDEN_COST = 1e4


@dataclass(frozen=True)
class MatchWeights:
    """Weights of the cost terms. Source: MVP-LM, section 3.2."""

    cls: float = 2.0
    bce: float = 5.0
    dice: float = 5.0
    l1: float = 5.0
    giou: float = 2.0


@dataclass(frozen=True)
class Matches:
    """R pairs of all sets, ordered by image, then set, then query.

    Attributes:
        set_index, image, query: (R,) int64 on the device of the predictions.
        target: (R,) int64 position in the table of all targets of the batch.
        row: (R,) int64 position in the predictions of all sets, flattened (B * Q rows) one set after the other.
        per_image: pairs of each image. num_sets: number of matched sets.
        host: (4, R) int64 the same pairs as (set, image, query, target of that image) on the host.
    """

    set_index: Tensor
    image: Tensor
    query: Tensor
    target: Tensor
    row: Tensor
    per_image: list[int]
    num_sets: int
    host: np.ndarray

    def pairs(self, image: int, *, set_index: int = -1) -> list[tuple[int, int]]:
        """(query, target) pairs of one image in one set (the last one by default), by query."""
        wanted = (self.host[0] == set_index % self.num_sets) & (self.host[1] == image)
        return [(int(query), int(target)) for query, target in self.host[2:, wanted].T]


class HungarianMatcher:
    """One-to-one assignment of queries to targets with the lowest summed cost.

    Args:
        weights: of the cost terms.
        num_points: points per image at which masks are compared, shared by all queries, sets and targets.
        split: with stuff queries, ``partition`` assigns things and stuff apart; ``cost_1e4`` assigns them together with
            a large cost between kinds.
        sentence_cost: whether the presence of a query counts in sentence tasks.
        classifier: ``softmax_ce`` or ``sigmoid_focal`` word heads.
        stuff_boxes: whether boxes of stuff targets count while stuff queries are in use.
        sampler: does what :func:`mvplm.losses.points.sample_features` does, for the criterion too; perhaps faster.

    Attributes:
        non_finite: image ids or positions -> number of cost entries that were not finite, since the last reset.

    Source: MVP-LM, section 3.2; DETR.
    """

    def __init__(
        self,
        weights: MatchWeights | None = None,
        *,
        num_points: int = 12544,
        split: str = "partition",
        sentence_cost: bool = True,
        classifier: str = "softmax_ce",
        stuff_boxes: bool = False,
        sampler: Callable[[Tensor, Tensor], Tensor] = sample_features,
    ) -> None:
        self.weights = MatchWeights() if weights is None else weights
        self.num_points = num_points
        self.split = check_choice("split", split, choices=SPLITS)
        self.sentence_cost = sentence_cost
        self.classifier = check_choice("classifier", classifier, choices=CLASSIFIERS)
        self.stuff_boxes = stuff_boxes
        self.sampler = sampler
        self.non_finite: dict[int | str, int] = {}

    @torch.no_grad()
    def match_all(
        self,
        sets: Sequence[PredictionSet],
        output: PerceptionOutput,
        *,
        targets: Sequence[Target] | TargetTable,
        points: Tensor | None = None,
        image_ids: Sequence[int | str] | None = None,
    ) -> Matches:
        """Match every set of every image; one copy to the host and one back.

        Args:
            sets: prediction sets of the B images; the number of queries may differ between sets.
            output: gives family, mask features, frame and the number of thing queries.
            targets: B targets, or their table.
            points: (B, P, 2) frame points for the mask costs; drawn uniformly when None.
            image_ids: names for the counter of non-finite costs; positions in the batch when None.
        """
        table = targets if isinstance(targets, TargetTable) else collect_targets(targets, output)
        sizes = [single.logits.shape[1] for single in sets]
        device = output.logits.device
        with torch.autocast(device.type, enabled=False):
            cost = self._costs(sets, output, table=table, points=points)
            kinds = table.padded(table.isthing)
            packed = torch.cat([cost.flatten(), kinds.flatten().to(cost.dtype)]).cpu().numpy()
        values = packed[: cost.numel()].reshape(cost.shape)
        kinds_host = packed[cost.numel() :].reshape(kinds.shape) > 0.5
        names = list(range(len(table.counts))) if image_ids is None else list(image_ids)
        columns, per_image = [np.zeros((4, 0), np.int64)], []
        for image, count in enumerate(table.counts):
            clean = self._finite(values[image, :, :count], names[image])
            per_image.append(0)
            for index, block in enumerate(np.split(clean, np.cumsum(sizes)[:-1])):
                query, target = self._assign(block, kinds_host[image, :count], num_things=output.num_things)
                columns.append(np.stack([np.full_like(query, index), np.full_like(query, image), query, target]))
                per_image[-1] += len(query)
        host = np.concatenate(columns, 1)
        image_count, widths = len(table.counts), np.asarray(sizes, np.int64)
        starts = image_count * (np.cumsum(widths) - widths)
        row = starts[host[0]] + host[1] * widths[host[0]] + host[2]
        target = np.asarray(table.starts, np.int64)[host[1]] + host[3]
        moved = torch.from_numpy(np.stack([*host[:3], target, row])).to(device)
        return Matches(*moved.unbind(0), per_image=per_image, num_sets=len(sets), host=host)

    def _costs(
        self, sets: Sequence[PredictionSet], output: PerceptionOutput, *, table: TargetTable, points: Tensor | None
    ) -> Tensor:
        """(B, sum of Q, M) cost of all sets' queries for each image's targets, zero-padded to M."""
        weights = self.weights
        logits = torch.cat([single.logits for single in sets], 1).float()
        boxes = torch.cat([single.boxes for single in sets], 1).float()
        labels = table.padded(table.labels)
        target_boxes = table.padded(table.boxes)
        box_cost = weights.l1 * costs.box_l1_cost(boxes, target_boxes)
        box_cost = box_cost + weights.giou * costs.box_giou_cost(boxes, target_boxes)
        if output.num_things < output.logits.shape[2] and not self.stuff_boxes:
            stuff = ~table.padded(table.isthing)[:, None]
            box_cost = box_cost.masked_fill(stuff, 0.0)
        cost = box_cost
        if output.family == "sentence":
            if self.sentence_cost:
                cost = cost + weights.cls * costs.sentence_cost(logits, labels)
        elif self.classifier == "softmax_ce":
            cost = cost + weights.cls * costs.softmax_cost(logits, labels)
        else:
            cost = cost + weights.cls * costs.focal_cost(logits, labels)
        if output.mask_features is not None and table.any_masks:
            cost = cost + self._mask_costs(sets, output, table=table, points=points)
        return cost

    def _mask_costs(
        self, sets: Sequence[PredictionSet], output: PerceptionOutput, *, table: TargetTable, points: Tensor | None
    ) -> Tensor:
        features = output.mask_features
        embeddings = torch.cat([single.mask_embeddings for single in sets], 1).float()
        if points is None:
            points = uniform_points(len(features), self.num_points, device=features.device)
        sampled = self.sampler(features, points)
        width = max([1, *table.counts])
        cost = sampled.new_zeros(len(features), embeddings.shape[1], width)
        for image, labels in enumerate(table.sample(points, frame=output.frame)):
            if labels is None or not len(labels):
                continue
            logits = embeddings[image] @ sampled[image]
            terms = self.weights.bce * costs.mask_bce_cost(logits, labels)
            terms = terms + self.weights.dice * costs.mask_dice_cost(logits, labels)
            start = table.starts[image]
            missing = ~table.has_mask[start : start + len(labels)]
            cost[image, :, : len(labels)] = terms.masked_fill(missing, 0.0)
        return cost

    def _finite(self, cost: np.ndarray, name: int | str) -> np.ndarray:
        broken = ~np.isfinite(cost)
        if not broken.any():
            return cost
        self.non_finite[name] = self.non_finite.get(name, 0) + int(broken.sum())
        return np.where(broken, _NON_FINITE_COST, cost)

    def _assign(self, cost: np.ndarray, isthing: np.ndarray, *, num_things: int) -> tuple[np.ndarray, np.ndarray]:
        """(query, target) of one set of one image; ``cost`` is (Q, N), things are queries [0, num_things)."""
        if num_things >= len(cost):
            return linear_sum_assignment(cost)
        is_thing_query = np.arange(len(cost)) < num_things
        if self.split == "cost_1e4":
            forbidden = is_thing_query[:, None] != isthing[None]
            return linear_sum_assignment(np.where(forbidden, _FORBIDDEN_COST, cost))
        parts = []
        for wanted in (True, False):
            queries = np.flatnonzero(is_thing_query == wanted)
            targets = np.flatnonzero(isthing == wanted)
            rows, columns = linear_sum_assignment(cost[np.ix_(queries, targets)])
            parts.append((queries[rows], targets[columns]))
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
