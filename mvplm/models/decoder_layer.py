"""One layer of the query decoder and the memory as its cross-attention reads it.

Source: Deformable-DETR and DAB-DETR.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvplm.models.layers import SelfAttention
from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention
from mvplm.models.pixel_decoder import PixelMemory


@dataclass
class DecoderMemory:
    """Memory tokens in the order of the cross-attention's levels.

    Attributes:
        tokens: (B, M, C). shapes: (h, w) of each level.
        padding: (B, M) bool, True on padding; None when no image has any.
    """

    tokens: Tensor
    shapes: list[tuple[int, int]]
    padding: Tensor | None

    @classmethod
    def of(cls, pixel: PixelMemory, *, reverse: bool = False) -> "DecoderMemory":
        """The tokens of ``pixel``; ``reverse`` puts the coarsest level first."""
        padding = None if pixel.geometry.full else pixel.padding
        if not reverse:
            return cls(pixel.memory, pixel.shapes, padding)
        sizes = [height * width for height, width in pixel.shapes]
        tokens = torch.cat(pixel.memory.split(sizes, dim=1)[::-1], dim=1)
        if padding is not None:
            padding = torch.cat(padding.split(sizes, dim=1)[::-1], dim=1)
        return cls(tokens, pixel.shapes[::-1], padding)


class DecoderLayer(nn.Module):
    """Self-attention, deformable cross-attention, feed-forward part; each followed by residual and norm.

    The norms are numbered as in the family: ``norm2``, ``norm1``, ``norm3``.

    Args:
        width: C.
        heads, points, levels, ffn: attention heads, sampling points, feature levels, feed-forward width.
    """

    def __init__(self, width: int, *, heads: int, points: int, levels: int, ffn: int) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross_attn = MultiScaleDeformableAttention(width, levels=levels, heads=heads, points=points)
        self.norm1 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, ffn)
        self.linear2 = nn.Linear(ffn, width)
        self.norm3 = nn.LayerNorm(width)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Tensor, positions: Tensor, *, references: Tensor, memory: DecoderMemory, allowed: Tensor | None = None
    ) -> Tensor:
        """Next states (B, Q, C).

        Args:
            x: (B, Q, C) states. positions: (B, Q, C) embedding of their boxes.
            references: (B, Q, 1, 4) float32 cxcywh in fractions of the padded frame.
            memory: the tokens looked at.
            allowed: (Q, Q) bool for the self-attention, True where looking is allowed.
        """
        x = self.norm2(x + self.self_attn(x, positions, allowed=allowed))
        attended = self.cross_attn(
            x + positions,
            memory.tokens,
            spatial_shapes=memory.shapes,
            references=references,
            padding=memory.padding,
        )
        x = self.norm1(x + attended)
        return self.norm3(x + self.linear2(self.linear1(x).relu_()))
