"""Deformable attention in plain PyTorch: the oracle of every kernel, and what runs where there is none.

Source: Deformable-DETR, section 4.1.
"""

from typing import Any

from torch import Tensor, autograd
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _WeightedSum(autograd.Function):
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
    value: Tensor, spatial_shapes: list[tuple[int, int]], *, sampling_locations: Tensor, attention_weights: Tensor
) -> Tensor:
    """Weighted sum of bilinear samples (B, Q, heads * dim), one level after the other.

    Arguments as in :func:`mvplm.models.ops.multi_scale_deformable_attention`, all of one floating type: float32, or
    float64 for checks. Half precision is refused by the caller's conversion: sampling it may crash on CPU.
    """
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
