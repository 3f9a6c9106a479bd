"""All targets of a batch in one table, with the host-side counts that decide shapes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.losses.points import sample_masks
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.sample import Target


@dataclass(frozen=True)
class TargetTable:
    """T targets of B images, image after image.

    Attributes:
        labels: (T,) int64. boxes: (T, 4) float32 CXCYWH_NORM. has_mask: (T,) bool.
        isthing: (T,) bool, whether the target's name is a thing.
        masks: B tensors (N, h, w) bool, or None for an image without masks.
        counts: targets per image. starts: first target of each image.
    """

    labels: Tensor
    boxes: Tensor
    has_mask: Tensor
    isthing: Tensor
    masks: list[Tensor | None]
    counts: list[int]
    starts: list[int]

    @property
    def any_masks(self) -> bool:
        """Whether any image of the batch has masks (known without looking at the device)."""
        return any(mask is not None and len(mask) > 0 for mask in self.masks)

    def sample(self, points: Tensor, *, frame: tuple[int, int]) -> list[Tensor | None]:
        """Labels (N, P) of every image at its points (B, P, 2); None for images without masks."""
        return [
            None if masks is None else sample_masks(masks, points[b], frame=frame) for b, masks in enumerate(self.masks)
        ]

    def padded(self, values: Tensor) -> Tensor:
        """Per-target ``values`` (T, ...) as (B, M, ...) with M = max(1, largest count), zeros behind."""
        width = max([1, *self.counts])
        out = values.new_zeros(len(self.counts), width, *values.shape[1:])
        for b, (start, count) in enumerate(zip(self.starts, self.counts, strict=True)):
            out[b, :count] = values[start : start + count]
        return out


def collect_targets(targets: Sequence[Target], output: PerceptionOutput) -> TargetTable:
    """Build the table of a batch.

    Raises:
        ValueError: the number of targets differs from the number of images of ``output``.
    """
    batch = output.logits.shape[1]
    if len(targets) != batch:
        raise ValueError(f"{batch} images need as many targets, got {len(targets)}")
    counts = [len(target) for target in targets]
    starts = [sum(counts[:b]) for b in range(batch)]
    isthing = [output.isthing[b].index_select(0, target.labels) for b, target in enumerate(targets)]
    return TargetTable(
        torch.cat([target.labels for target in targets]),
        torch.cat([target.boxes for target in targets]).float(),
        torch.cat([target.has_mask for target in targets]),
        torch.cat(isthing),
        [target.masks for target in targets],
        counts,
        starts,
    )
