"""Dynamic masks and their refinement: a query becomes a 1x1 convolution, its mask's pixels improve the query."""

import math

import torch
from torch import Tensor, nn

_POOL_EPS = 1e-6
_SPARSE_START = -2.0


class DynamicMask(nn.Module):
    """Mask logits ``theta . F / sqrt(d) + b`` with theta and b from a perceptron on the query.

    b starts at -2: new networks draw nothing rather than everything.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width + 1)
        )
        with torch.no_grad():
            self.kernel[-1].bias[-1] = _SPARSE_START

    def forward(self, queries: Tensor, pixels: Tensor) -> Tensor:
        """Logits (k, H, W) of queries (k, d) on pixel features (1 or k, d, H, W)."""
        weights, bias = self.kernel(queries).split([queries.shape[-1], 1], dim=-1)
        shared = pixels.shape[0] == 1
        dot = (
            torch.einsum("kd,dhw->khw", weights, pixels[0]) if shared else torch.einsum("kd,kdhw->khw", weights, pixels)
        )
        return dot / math.sqrt(queries.shape[-1]) + bias[..., None]


def pooled_features(logits: Tensor, pixels: Tensor) -> Tensor:
    """Mean pixel features (k, d) float32 inside soft masks; zeros where a mask is empty.

    Args:
        logits: (k, H, W) mask logits.
        pixels: (1 or k, d, H, W) pixel features.
    """
    weights = logits.float().sigmoid().flatten(1)
    features = pixels.float().flatten(2)
    shared = features.shape[0] == 1
    sums = weights @ features[0].T if shared else torch.einsum("kn,kdn->kd", weights, features)
    return sums / (weights.sum(1, keepdim=True) + _POOL_EPS)


class MaskAwareRefinement(nn.Module):
    """Refined queries: ``LN(query + MLP(pooled features of its first mask))``.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.target = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, logits: Tensor, *, pixels: Tensor) -> Tensor:
        """Queries (k, d) from queries (k, d), mask logits (k, H, W) and pixel features (1 or k, d, H, W)."""
        return self.norm(queries + self.target(pooled_features(logits, pixels).to(queries.dtype)))
