"""The query decoder: content queries and reference boxes are refined layer by layer against the memory.

Source: Deformable-DETR, DINO (look forward twice) and OpenSeeD; MVP-LM, section 3.4.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mvplm.models.decoder_layer import DecoderLayer, DecoderMemory
from mvplm.models.layers import MLP
from mvplm.models.pixel_decoder import PixelMemory
from mvplm.models.position import box_position_embedding
from mvplm.structures.choices import check_choice

LOOP_BOX_INPUTS = ("normed", "raw")
LEVEL_ORDERS = ("fine_to_coarse", "coarse_to_fine")
_EPS = 1e-5


@dataclass
class DecoderStates:
    """What the decoder hands to the heads.

    Attributes:
        hidden: (L, B, Q, C) states after the decoder norm, for the class and mask heads. L = layers + 1 with the
            initial queries first, or 1 (the last layer alone).
        boxes: (L, B, Q, 4) float32 CXCYWH_NORM in the valid frame.
    """

    hidden: Tensor
    boxes: Tensor


class Decoder(nn.Module):
    """Layers of self-attention, deformable cross-attention and feed-forward part, with iterative box refinement.

    Args:
        width: C.
        layers, heads, points, ffn: depth, attention heads, sampling points per head and level, feed-forward width.
        levels: feature levels of the memory.
        loop_box_input: states that move the boxes between layers: "normed" (the reported boxes) or "raw".
        level_order: order of the levels in the cross-attention's parameters.
        double_norm: apply the decoder norm twice on layer outputs for the class and mask heads.

    Raises:
        ValueError: for an unknown ``loop_box_input`` or ``level_order``.
    """

    def __init__(
        self,
        width: int,
        *,
        layers: int = 9,
        heads: int = 8,
        points: int = 4,
        ffn: int = 2048,
        levels: int = 4,
        loop_box_input: str = "normed",
        level_order: str = "fine_to_coarse",
        double_norm: bool = False,
    ) -> None:
        super().__init__()
        check_choice("loop_box_input", loop_box_input, choices=LOOP_BOX_INPUTS)
        check_choice("level_order", level_order, choices=LEVEL_ORDERS)
        self.width = width
        self.loop_box_input = loop_box_input
        self.level_order = level_order
        self.double_norm = double_norm
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads=heads, points=points, ffn=ffn, levels=levels) for _ in range(layers)
        )
        self.ref_point_head = MLP(2 * width, width, width, layers=2)
        self.norm = nn.LayerNorm(width)
        for layer in self.ref_point_head.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        content: Tensor,
        reference_logits: Tensor,
        *,
        pixel: PixelMemory,
        box_head: Callable[[Tensor], Tensor],
        attention_mask: Tensor | None = None,
        all_layers: bool = True,
    ) -> DecoderStates:
        """Refined queries.

        Between layers the references carry no gradient; a reported box keeps the gradient of the layer before it.

        Args:
            content: (B, Q, C) queries.
            reference_logits: (B, Q, 4) logits of their CXCYWH_NORM boxes in the valid frame.
            pixel: the memory.
            box_head: states (..., C) to changes (..., 4) of box logits.
            attention_mask: (Q, Q) bool, True where the row's query must not see the column's.
            all_layers: return the initial set and every layer, or only the last one.
        """
        memory = DecoderMemory.of(pixel, reverse=self.level_order == "coarse_to_fine")
        allowed = None if attention_mask is None else ~attention_mask
        ratios = pixel.valid_ratios.repeat(1, 2)[:, None]
        reference = previous = reference_logits.float().sigmoid()
        state = content.float()
        hidden, boxes = [self.norm(state)], [reference]
        for layer in self.layers:
            placed = reference * ratios
            positions = self.ref_point_head(box_position_embedding(placed, self.width))
            state = layer(state, positions, references=placed[:, :, None], memory=memory, allowed=allowed)
            normed = self.norm(state)
            change = box_head(normed).float()
            boxes.append(_moved(previous, change))
            loop_change = change if self.loop_box_input == "normed" else box_head(state).float()
            previous = _moved(reference.detach(), loop_change)
            reference = previous.detach()
            hidden.append(self.norm(normed) if self.double_norm else normed)
        if not all_layers:
            hidden, boxes = hidden[-1:], boxes[-1:]
        return DecoderStates(torch.stack(hidden), torch.stack(boxes))


def _moved(boxes: Tensor, change: Tensor) -> Tensor:
    return (torch.logit(boxes, eps=_EPS) + change).sigmoid()
