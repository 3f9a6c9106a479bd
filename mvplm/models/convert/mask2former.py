"""What Mask2Former gives, in both of its layouts: encoder, pixel decoder, and the parts of the query decoder that fit.

Its pixel decoder has three levels, counted from the coarsest. ``levels=3`` keeps its function exactly; ``levels=4``
adds one of stride 64. Its cross-attention is of another kind and is left out.
Source: Mask2Former.
"""

import torch
from torch import Tensor

from mvplm.models.convert.levels import append_level, reverse_levels, start_offsets
from mvplm.models.convert.pixel_decoder import ENDS, PIXEL
from mvplm.models.convert.rules import Rule, alter
from mvplm.models.convert.source import Options

LEVELS = 3
COVERS = ("encoder", "pixel_decoder", "decoder", "heads")
FRESH = (
    r"pixel_decoder\.input_proj\.3\..*",
    r"decoder\.layers\.\d+\.(cross_attn|norm1)\..*",
    r"decoder\.ref_point_head\..*",
    r"heads\.(box|word|sentence)\..*",
)
"""Tensors of the covered parts that Mask2Former has no counterpart of."""
UNUSED_QUERIES = "queries of its own; here they come from the text"
UNUSED_CROSS = "plain cross-attention; here it is deformable"
UNUSED_CLASSES = "fixed classes; here names are compared"
_TURNED = "levels turned to fine-to-coarse order"
_GROWN = "levels turned to fine-to-coarse order, one level added"


def level_rules(attention: str, embedding: str, *, options: Options) -> list[Rule]:
    """Rules for what depends on the levels.

    Args:
        attention: pattern of an encoder layer's attention with one group, the layer's number.
        embedding: pattern of the level embedding.
        options: levels wanted, attention heads.

    Raises:
        ValueError: neither three nor four levels are wanted.
    """
    if options.levels not in (LEVELS, LEVELS + 1):
        raise ValueError(
            f"Mask2Former has {LEVELS} levels; levels must be {LEVELS} or {LEVELS + 1}, got {options.levels}"
        )
    why = _TURNED if options.levels == LEVELS else _GROWN
    target = PIXEL + r"encoder.\1.self_attn."

    def turned(rows: Tensor, *, start: Tensor | None = None) -> Tensor:
        rows = reverse_levels(rows, LEVELS, heads=options.heads)
        return rows if options.levels == LEVELS else append_level(rows, LEVELS, heads=options.heads, start=start)

    def turned_bias(rows: Tensor) -> Tensor:
        points = len(rows) // (options.heads * LEVELS * 2)
        return turned(rows, start=start_offsets(LEVELS + 1, heads=options.heads, points=points))

    def turned_embedding(rows: Tensor) -> Tensor:
        rows = rows.flip(0)
        # The new level is the next coarser one: it starts out marked like the coarsest.
        return rows if options.levels == LEVELS else torch.cat([rows, rows[-1:]])

    return [
        alter(rf"{attention}sampling_offsets\.bias", target + "sampling_offsets.bias", change=turned_bias, why=why),
        alter(rf"{attention}sampling_offsets\.weight", target + "sampling_offsets.weight", change=turned, why=why),
        alter(rf"{attention}attention_weights\.{ENDS}", target + r"attention_weights.\2", change=turned, why=why),
        alter(embedding, PIXEL + "level_embed", change=turned_embedding, why=why),
    ]
