"""Denoising: noised copies of the targets as extra queries that need no matching (training, word family).

Source: DN-DETR and OpenSeeD; MVP-LM, section 3.4 (content is the name's text embedding).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mvplm.models.queries import Queries
from mvplm.structures import DenoisingOutput, Target
from mvplm.structures.choices import check_choice

OVERFLOWS = ("subsample", "skip")
_EPS = 1e-5


@dataclass(frozen=True)
class DenoisingSettings:
    """How targets are noised.

    Attributes:
        budget: most denoising queries; 0 switches denoising off.
        box_noise: centre moves by up to half of this share of the side, sides change by up to this share.
        label_noise: probability that a query carries the embedding of a random name of the list.
        overflow: images with more targets than the budget use a random subset ("subsample") or the whole step goes
            without denoising ("skip").
    """

    budget: int = 100
    box_noise: float = 0.4
    label_noise: float = 0.0
    overflow: str = "subsample"

    def __post_init__(self) -> None:
        check_choice("denoising overflow", self.overflow, choices=OVERFLOWS)


@dataclass
class DenoisingQueries:
    """P = groups * slots noised queries per image.

    Attributes:
        queries: content (B, P, C) and reference logits (B, P, 4); zeros in empty slots.
        groups, slots: copies, and places per copy; target j of group i sits at i * slots + j.
        target_index: (B, slots) int64 target of the image at each place, -1 when empty.
    """

    queries: Queries
    groups: int
    slots: int
    target_index: Tensor

    def __len__(self) -> int:
        return self.groups * self.slots

    def output(self, *, logits: Tensor, boxes: Tensor, mask_embeddings: Tensor | None) -> DenoisingOutput:
        """The denoising share of predictions (L, B, P + Q, ...) whose first P queries are these."""
        count = len(self)
        return DenoisingOutput(
            logits=logits[:, :, :count],
            boxes=boxes[:, :, :count],
            mask_embeddings=None if mask_embeddings is None else mask_embeddings[:, :, :count],
            groups=self.groups,
            slots=self.slots,
            target_index=self.target_index,
        )


def denoising_layout(most: int, settings: DenoisingSettings) -> tuple[int, int]:
    """(groups, slots) for images with at most ``most`` targets; (0, 0) without denoising."""
    if most == 0 or settings.budget == 0 or (most > settings.budget and settings.overflow == "skip"):
        return 0, 0
    slots = min(most, settings.budget)
    return settings.budget // slots, slots


def build_denoising(
    targets: Sequence[Target], text: Tensor, *, name_mask: Tensor, settings: DenoisingSettings
) -> DenoisingQueries | None:
    """Noised queries of a batch, or None when there is nothing to noise. Reads nothing back from the device.

    Args:
        targets: B targets. text: (B, K, C) embeddings of the names, with gradient. name_mask: (B, K) bool.
        settings: noise and budget.
    """
    groups, slots = denoising_layout(max((len(t) for t in targets), default=0), settings)
    if groups == 0:
        return None
    index = _target_index(targets, slots, device=text.device)
    filled = index >= 0
    place = index.clamp(min=0)
    labels = pad_sequence([t.labels for t in targets], batch_first=True).gather(1, place)
    boxes = pad_sequence([t.boxes for t in targets], batch_first=True)
    boxes = boxes.float().gather(1, place[..., None].expand(-1, -1, 4))
    labels, boxes, filled = labels.repeat(1, groups), boxes.repeat(1, groups, 1), filled.repeat(1, groups)
    if settings.label_noise > 0:
        labels = _flip(labels, name_mask, probability=settings.label_noise)
    content = text.gather(1, labels[..., None].expand(-1, -1, text.shape[-1]))
    references = torch.logit(_noise(boxes, settings.box_noise), eps=_EPS)
    queries = Queries(content * filled[..., None], references * filled[..., None])
    return DenoisingQueries(queries, groups, slots, index)


def denoising_mask(groups: int, slots: int, *, matching: int, device: torch.device | str) -> Tensor:
    """(P + Q, P + Q) bool, True = blocked: matching rows see no denoising, copies do not see one another.

    Args:
        groups, slots: P = groups * slots. matching: Q, matching and stuff queries, which come after the P.
    """
    total = groups * slots + matching
    place = torch.arange(total, device=device)
    # Matching queries are one more group; everybody sees that one, and only that group sees all of itself.
    group = (place // slots).clamp(max=groups)
    return (group[:, None] != group[None]) & (group[None] < groups)


def _target_index(targets: Sequence[Target], slots: int, *, device: torch.device) -> Tensor:
    rows = []
    for target in targets:
        count = len(target)
        row = torch.arange(count, device=device)
        if count > slots:
            row = torch.randperm(count, device=device)[:slots]
        rows.append(torch.nn.functional.pad(row, (0, max(0, slots - count)), value=-1))
    return torch.stack(rows)


def _noise(boxes: Tensor, scale: float) -> Tensor:
    draw = torch.rand_like(boxes) * 2 - 1
    sides = boxes[..., 2:] * scale
    reach = torch.cat([sides / 2, sides], dim=-1)
    return (boxes + draw * reach).clamp(0, 1)


def _flip(labels: Tensor, name_mask: Tensor, *, probability: float) -> Tensor:
    draw = torch.rand(2, *labels.shape, device=labels.device)
    count = name_mask.sum(1, keepdim=True)
    other = (draw[1] * count).long().clamp(max=name_mask.shape[1] - 1)
    return torch.where(draw[0] < probability, other, labels)
