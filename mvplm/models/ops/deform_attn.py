"""Multi-scale deformable attention: every query looks at a few learned places of every feature level.

The plain PyTorch function is the reference. Tensors may be any strided view; the module lays them out so that the
reference needs no copies.
Source: Deformable-DETR, section 4.1.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from mvplm.structures.choices import check_choice

Shapes = list[tuple[int, int]]


class _WeightedSum(torch.autograd.Function):
    """Sum over points of samples (N, dim, points, Q) times weights (N, points, Q), without the product in memory."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(samples, weights)
        total = samples[:, :, 0] * weights[:, None, 0]
        for point in range(1, samples.shape[2]):
            total.addcmul_(samples[:, :, point], weights[:, None, point])
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        samples, weights = ctx.saved_tensors
        grad_weights = grad[:, 0, None] * samples[:, 0]
        for channel in range(1, samples.shape[1]):
            grad_weights.addcmul_(grad[:, channel, None], samples[:, channel])
        return grad[:, :, None] * weights[:, None], grad_weights


def reference_deformable_attention(
    value: Tensor, spatial_shapes: Shapes, *, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples in plain PyTorch; arguments of :func:`multi_scale_deformable_attention`."""
    batch, _, heads, dim = value.shape
    # Queries go last and heads into the batch: (N, dim, cells), (N, points, Q, 2) and (N, points, Q) per level.
    maps = value.permute(0, 2, 3, 1).flatten(0, 1).split([h * w for h, w in spatial_shapes], dim=-1)
    grids = sampling_locations.permute(0, 2, 3, 4, 1, 5).mul(2).sub_(1).flatten(0, 1).unbind(1)
    weights = attention_weights.permute(0, 2, 3, 4, 1).flatten(0, 1).unbind(1)
    parts = []
    for shape, level, grid, weight in zip(spatial_shapes, maps, grids, weights, strict=True):
        samples = F.grid_sample(
            level.unflatten(-1, shape), grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        parts.append(_WeightedSum.apply(samples, weight))
    return sum(parts[1:], parts[0]).view(batch, heads * dim, -1).transpose(1, 2)


BACKENDS: dict[str, Callable[..., Tensor]] = {"reference": reference_deformable_attention}
"""Implementations by name, the fastest last."""


def live_backend() -> str:
    """Name of the implementation that "auto" takes on this machine: the fastest there is."""
    return list(BACKENDS)[-1]


def multi_scale_deformable_attention(
    value: Tensor,
    spatial_shapes: Shapes,
    *,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    backend: str = "auto",
) -> Tensor:
    """Attended values (B, Q, heads * dim) float32.

    A location spans pixel edges: 0 is the left (top) edge of the first cell, 1 the right (bottom) edge of the last;
    outside of the map everything is zero.

    Args:
        value: (B, N, heads, dim), the cells of all levels, each level row by row.
        spatial_shapes: (h, w) of the L levels; their areas sum to N.
        sampling_locations: (B, Q, heads, L, points, 2) float32 (x, y).
        attention_weights: (B, Q, heads, L, points) float32.
        backend: "auto" (the fastest that fits) or a name of ``BACKENDS``.

    Raises:
        ValueError: for an unknown backend or when the shapes do not cover the N cells.
    """
    check_choice("deformable attention backend", backend, choices=("auto", *BACKENDS))
    cells = sum(height * width for height, width in spatial_shapes)
    if cells != value.shape[1]:
        raise ValueError(f"levels {spatial_shapes} have {cells} cells, the value has {value.shape[1]}")
    run = BACKENDS[live_backend() if backend == "auto" else backend]
    with torch.autocast(value.device.type, enabled=False):
        return run(
            value.float(),
            spatial_shapes,
            sampling_locations=sampling_locations.float(),
            attention_weights=attention_weights.float(),
        )


class MultiScaleDeformableAttention(nn.Module):
    """Deformable attention with its four linear layers; offsets, weights and sampling are float32 under autocast.

    Args:
        width: C.
        levels, heads, points: feature levels, heads (must divide C), sampling points per head and level.
        backend: see :func:`multi_scale_deformable_attention`.

    Raises:
        ValueError: when ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, *, levels: int = 4, heads: int = 8, points: int = 4, backend: str = "auto") -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.levels, self.heads, self.points, self.backend = levels, heads, points, backend
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start values: head h looks along angle 2 pi h / heads, one step further with every point."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        offsets = directions[:, None, None] * steps[:, None]
        offsets = offsets.expand(self.heads, self.levels, self.points, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.reshape(-1))
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        memory: Tensor,
        *,
        spatial_shapes: Shapes,
        references: Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attended memory (B, Q, C).

        Args:
            query: (B, Q, C) states with positions added.
            memory: (B, N, C) tokens.
            spatial_shapes: (h, w) of each level.
            references: (B, Q, L or 1, 2 or 4) float32 points (x, y) or boxes cxcywh in fractions of the padded frame.
            padding: (B, N) bool, True on tokens that count as zero.

        Raises:
            ValueError: when the references are neither points nor boxes.
        """
        batch, count, width = query.shape
        value = _channels_first(self.value_proj, memory)
        if padding is not None:
            value = value.masked_fill(padding[:, None], 0)
        with torch.autocast(query.device.type, enabled=False):
            query = query.float()
            offsets = _channels_first(self.sampling_offsets, query)
            offsets = offsets.view(batch, self.heads, self.levels, self.points, 2, count)
            locations = self._locations(references.float(), offsets, spatial_shapes=spatial_shapes)
            weights = _channels_first(self.attention_weights, query).view(batch, self.heads, -1, count).softmax(2)
            weights = weights.view(batch, self.heads, self.levels, self.points, count)
        attended = multi_scale_deformable_attention(
            value.view(batch, self.heads, width // self.heads, -1).permute(0, 3, 1, 2),
            spatial_shapes,
            sampling_locations=locations.permute(0, 5, 1, 2, 3, 4),
            attention_weights=weights.permute(0, 4, 1, 2, 3),
            backend=self.backend,
        )
        return self.output_proj(attended)

    def _locations(self, references: Tensor, offsets: Tensor, *, spatial_shapes: Shapes) -> Tensor:
        """Places (B, heads, L, points, 2, Q) from references (B, Q, L or 1, 2 or 4) and offsets of that shape."""
        references = references.permute(0, 2, 3, 1)[:, None, :, None]
        if references.shape[-2] == 2:
            cell = [[1 / width, 1 / height] for height, width in spatial_shapes]
            return torch.addcmul(references, offsets, offsets.new_tensor(cell)[:, None, :, None])
        if references.shape[-2] == 4:
            centre, sides = references.split(2, dim=-2)
            return torch.addcmul(centre, offsets, sides * (0.5 / self.points))
        raise ValueError(f"references must be points (2) or boxes (4), got a dimension of {references.shape[-2]}")


def _channels_first(linear: nn.Linear, x: Tensor) -> Tensor:
    """Linear layer on (B, N, C) with a contiguous (B, channels, N) result."""
    weight = linear.weight.expand(len(x), -1, -1)
    return torch.baddbmm(linear.bias[:, None], weight, x.transpose(1, 2))
