"""One layer of the deformable encoder.

Source: Deformable-DETR.
"""

import torch
from torch import Tensor, nn

from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention

# Tokens whose hidden numbers stay in the cache of a processor between the two layers of the feed-forward part.
_PIECE = 1024


class EncoderLayer(nn.Module):
    """Deformable self-attention over the levels and a feed-forward part; each followed by residual and norm.

    Args:
        width: C.
        levels, heads, points, ffn: feature levels, attention heads, sampling points, feed-forward width.
    """

    def __init__(self, width: int, *, levels: int, heads: int, points: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = MultiScaleDeformableAttention(width, levels=levels, heads=heads, points=points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ffn)
        self.linear2 = nn.Linear(ffn, width)
        self.norm2 = nn.LayerNorm(width)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        *,
        references: Tensor,
        spatial_shapes: list[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Next tokens (B, M, C).

        Args:
            x: (B, M, C) tokens. positions: (B or 1, M, C), added to the queries only.
            references: (B, M, 1, 2) float32 cell centres in fractions of the padded frame.
            spatial_shapes: (h, w) of each level.
            padding: (B, M) bool, True on padded cells; None when there are none.
        """
        attended = self.self_attn(
            x + positions, x, spatial_shapes=spatial_shapes, references=references, padding=padding
        )
        x = self.norm1(x + attended)
        return self.norm2(x + self._feed_forward(x))

    def _feed_forward(self, x: Tensor) -> Tensor:
        """Two linear layers, ReLU between, on (B, M, C); on CPU without gradients piece by piece, which is faster."""
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return self.linear2(self.linear1(x).relu_())
        pieces = x.flatten(0, 1).split(_PIECE)
        return torch.cat([self.linear2(self.linear1(piece).relu_()) for piece in pieces]).view_as(x)
