"""Pairs of predictions and targets, of matched sets and denoising sets alike, laid out for one vectorised loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.losses.matcher import Matches
from mvplm.losses.targets import TargetTable
from mvplm.structures.outputs import DenoisingOutput, PerceptionOutput, PredictionSet


@dataclass(frozen=True)
class PairTable:
    """R pairs ordered by image.

    Attributes:
        row: (R,) int64 row in the predictions of all sets, flattened one set after the other.
        target: (R,) int64 position in the table of all targets.
        set_index: (R,) int64. weight: (R,) float32, 0 for pairs that do not count.
        per_image: pairs of each image (host).
    """

    row: Tensor
    target: Tensor
    set_index: Tensor
    weight: Tensor
    per_image: list[int]

    def merged(self, other: "PairTable") -> "PairTable":
        """Both tables, image by image."""
        fields = []
        for name in ("row", "target", "set_index", "weight"):
            mine = getattr(self, name).split(self.per_image)
            theirs = getattr(other, name).split(other.per_image)
            fields.append(torch.cat([part for both in zip(mine, theirs, strict=True) for part in both]))
        counts = [a + b for a, b in zip(self.per_image, other.per_image, strict=True)]
        return PairTable(*fields, per_image=counts)


@dataclass(frozen=True)
class NamedSet:
    """A prediction set and the suffix its losses carry: "", ".initial", ".layer1", ..., ".selection"."""

    suffix: str
    predictions: PredictionSet


def layer_suffixes(layers: int) -> list[str]:
    """Suffix of every decoder set, first (initial queries) to last (output, no suffix)."""
    if layers == 1:
        return [""]
    return [".initial", *(f".layer{i}" for i in range(1, layers - 1)), ""]


def named_sets(output: PerceptionOutput) -> list[NamedSet]:
    """All sets that are matched: the decoder's, then the selection set when there is one."""
    layers = len(output.logits)
    embeddings = [None] * layers if output.mask_embeddings is None else output.mask_embeddings.unbind(0)
    singles = zip(layer_suffixes(layers), output.logits.unbind(0), output.boxes.unbind(0), embeddings, strict=True)
    sets = [NamedSet(suffix, PredictionSet(*tensors)) for suffix, *tensors in singles]
    if output.selection is not None:
        sets.append(NamedSet(".selection", output.selection))
    return sets


def matched_pairs(matches: Matches) -> PairTable:
    """The pairs of the matcher; every one counts."""
    weight = torch.ones(len(matches.row), device=matches.row.device)
    return PairTable(matches.row, matches.target, matches.set_index, weight, matches.per_image)


def denoising_pairs(
    denoising: DenoisingOutput, table: TargetTable, *, first_row: int = 0, first_set: int = 0
) -> PairTable:
    """Filled denoising slots of every set and group with the targets they were made from.

    Args:
        denoising: predictions of the denoising queries; at most ``slots`` targets of an image take part.
        table: all targets of the batch.
        first_row, first_set: where the denoising predictions begin behind the matched ones.
    """
    layers, batch, width = denoising.logits.shape[:3]
    slots, device = denoising.slots, denoising.logits.device
    index = denoising.target_index
    places = torch.argsort((index < 0).long(), dim=1, stable=True)
    layer = torch.arange(layers, device=device)[:, None, None]
    group = torch.arange(denoising.groups, device=device)[None, :, None]
    rows, targets, sets, weights, counts = [], [], [], [], []
    for image, (start, count) in enumerate(zip(table.starts, table.counts, strict=True)):
        place = places[image, : min(count, slots)]
        chosen = index[image].gather(0, place)
        shape = (layers, denoising.groups, len(place))
        rows.append((first_row + (layer * batch + image) * width + group * slots + place).flatten())
        targets.append((start + chosen.clamp(min=0)).expand(shape).flatten())
        sets.append((first_set + layer).expand(shape).flatten())
        weights.append((chosen >= 0).float().expand(shape).flatten())
        counts.append(layers * denoising.groups * len(place))
    return PairTable(torch.cat(rows), torch.cat(targets), torch.cat(sets), torch.cat(weights), counts)
