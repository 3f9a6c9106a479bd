"""Points: where mask predictions and mask labels are compared. Coordinates are (x, y) fractions of the padded frame."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PointBudget:
    """How many points a mask loss looks at.

    Attributes:
        total: points per pair. oversample: candidates per point. importance: share of points chosen by uncertainty.

    Source: PointRend, as used by Mask2Former.
    """

    total: int = 12544
    oversample: float = 3.0
    importance: float = 0.75

    def __post_init__(self) -> None:
        if self.total < 1 or self.oversample < 1 or not 0 <= self.importance <= 1:
            raise ValueError(f"points need total >= 1, oversample >= 1 and importance in [0, 1], got {self}")

    @property
    def candidates(self) -> int:
        """Uniform points the important ones are chosen from."""
        return int(self.total * self.oversample) if self.important else 0

    @property
    def important(self) -> int:
        """Points chosen because their logit is closest to zero."""
        return int(self.total * self.importance)

    @property
    def uniform(self) -> int:
        """Points added without looking."""
        return self.total - self.important

    @property
    def drawn(self) -> int:
        """All points drawn per image: candidates first, then the uniform ones."""
        return self.candidates + self.uniform


def uniform_points(
    batch: int, count: int, *, device: torch.device | str = "cpu", generator: torch.Generator | None = None
) -> Tensor:
    """Uniform points (B, P, 2) float32 in [0, 1) over the padded frame, one draw per image."""
    return torch.rand(batch, count, 2, device=device, generator=generator)


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (B, C, P) float32 of maps (B, C, h, w) at frame points (B, P, 2); zero beyond the border."""
    grid = 2 * points.float()[:, None] - 1
    return F.grid_sample(features.float(), grid, align_corners=False).squeeze(2)


@torch.no_grad()
def sample_masks(masks: Tensor, points: Tensor, *, frame: tuple[int, int]) -> Tensor:
    """Bilinear labels (N, P) float32 in [0, 1] of boolean masks at frame points, without a float copy of the masks.

    Args:
        masks: (N, h, w) bool at the un-padded input size; the frame's padding counts as outside.
        points: (P, 2) fractions of the padded frame.
        frame: (H, W) padded input size.
    """
    count, height, width = masks.shape
    x = points[:, 0].float() * frame[1] - 0.5
    y = points[:, 1].float() * frame[0] - 0.5
    if not height * width:
        return torch.zeros(count, len(points), device=masks.device)
    # The four corners of every point: two columns and two rows, (4, P).
    column = torch.stack([x.floor(), x.floor() + 1]).repeat(2, 1)
    row = torch.stack([y.floor(), y.floor() + 1]).repeat_interleave(2, 0)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    weight = (1 - (x - column).abs()) * (1 - (y - row).abs()) * inside
    cell = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
    corners = masks.reshape(count, height * width).index_select(1, cell.flatten())
    return (corners.view(count, 4, len(points)) * weight).sum(1)


@torch.no_grad()
def choose_points(logits: Tensor, budget: PointBudget) -> Tensor:
    """Indices (R, total) int64 of the points each pair is judged at.

    Args:
        logits: (R, budget.drawn) mask logits at all points drawn for the image.
        budget: of the candidates, the ``important`` ones with the smallest absolute logit are kept, and every uniform
            point follows.
    """
    rows = len(logits)
    extra = torch.arange(budget.candidates, budget.drawn, device=logits.device).expand(rows, budget.uniform)
    if not budget.important:
        return extra
    return torch.cat([_smallest(logits[:, : budget.candidates].abs(), budget.important), extra], 1)


def _smallest(values: Tensor, count: int) -> Tensor:
    """Indices (R, count) int64 of the smallest of ``values`` (R, P), in no order."""
    if values.device.type == "cpu" and count < values.shape[1] and type(values) is Tensor:
        # Several times faster than the CPU kernel of topk; NumPy cannot read tensors without values (dry runs).
        return torch.from_numpy(np.argpartition(values.numpy(), count, axis=1)[:, :count])
    return values.topk(count, dim=1, largest=False, sorted=False).indices
