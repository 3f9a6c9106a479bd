"""What OpenSeeD, Mask DINO and MVP-LM share: pixel decoder, selection, box and mask heads, query decoder.

Files of the order "low2high" count the pixel decoder's levels from the finest and the query decoder's from the
coarsest; "high2low" the other way round. Here both count from the finest; the conversion is exact.
Source: Mask DINO, OpenSeeD.
"""

from typing import Any

from mvplm.models.convert.levels import FEATURE_ORDERS, attention_rules
from mvplm.models.convert.pixel_decoder import ENDS, PIXEL, encoder_layer_rules, fine_map_rules, input_rules
from mvplm.models.convert.rules import Rule, alter, rename
from mvplm.models.convert.source import Options, Tensors
from mvplm.models.pixel_decoder import ENCODER_STRIDES, LEVEL_STRIDES
from mvplm.structures.choices import check_choice

COVERS = ("encoder", "pixel_decoder", "selector", "decoder", "heads")
FRESH = (r"heads\.(word|sentence)\..*",)
_BOX_NAMES = r"(?:_bbox_embed|bbox_embed\.\d+|decoder\.bbox_embed\.\d+)"


def count_levels(tensors: Tensors) -> int:
    """L of the file, from its level embedding.

    Raises:
        ValueError: it has none.
    """
    found = [tensor for name, tensor in tensors.items() if name.endswith("pixel_decoder.transformer.level_embed")]
    if not found or len(found[0]) not in LEVEL_STRIDES:
        what = f"{len(found[0])} levels" if found else "no pixel_decoder.transformer.level_embed"
        raise ValueError(
            f"the file has {what}; a pixel decoder of {', '.join(map(str, LEVEL_STRIDES))} levels is needed"
        )
    return len(found[0])


def checked_order(options: Options) -> str:
    """The order of the file's feature levels, which cannot be read off its tensors.

    Raises:
        ValueError: it is not given, or another word.
    """
    if options.feature_order is None:
        raise ValueError(
            f"feature_order is needed ({' or '.join(FEATURE_ORDERS)}; FEATURE_ORDER in the configuration of the file's "
            "model): it cannot be told from the weights"
        )
    return check_choice("feature order", options.feature_order, choices=FEATURE_ORDERS)


def settings(options: Options) -> dict[str, Any]:
    """The configuration that belongs to the file's order of levels."""
    scale = "coarse_small" if checked_order(options) == "low2high" else "fine_small"
    return {"model": {"decoder": {"anchor_scale": scale, "level_order": "fine_to_coarse"}}}


def pixel_rules(prefix: str, *, levels: int, order: str, heads: int) -> list[Rule]:
    """The pixel decoder under ``prefix`` (no groups).

    Args:
        prefix: pattern of what stands before the pixel decoder's names.
        levels: L. order: "low2high" or "high2low". heads: attention heads.
    """
    turned = order == "high2low"
    # All but the level that is added beyond the encoder's maps; its projection is the last one in both orders.
    inputs = sum(stride in ENCODER_STRIDES for stride in LEVEL_STRIDES[levels])
    attention = prefix + r"transformer\.encoder\.layers\.(\d+)\.self_attn\."
    embedding = prefix + r"transformer\.level_embed"
    return [
        *input_rules(prefix + r"input_proj\.{}", levels=inputs, reverse=turned),
        *(
            rename(prefix + rf"input_proj\.{level}\.(0|1)\.{ENDS}", rf"{PIXEL}input_proj.{level}.\1.\2")
            for level in range(inputs, levels)
        ),
        alter(
            embedding,
            PIXEL + "level_embed",
            change=lambda rows: rows.flip(0),
            why="levels put into fine-to-coarse order",
        )
        if turned
        else rename(embedding, PIXEL + "level_embed"),
        *attention_rules(
            attention,
            PIXEL + r"encoder.\1.self_attn.",
            order=range(levels)[::-1] if turned else None,
            heads=heads,
        ),
        *encoder_layer_rules(prefix),
        *fine_map_rules(prefix),
    ]


def predictor_rules(prefix: str, *, levels: int, turn: bool, heads: int) -> list[Rule]:
    """Selection, heads and query decoder under ``prefix`` (no groups).

    Args:
        prefix: pattern of what stands before the predictor's names.
        levels: L. turn: reverse the levels of the cross-attention. heads: attention heads.
    """
    layer, target = prefix + r"decoder\.layers\.(\d+)\.", r"decoder.layers.\1."
    return [
        rename(prefix + rf"enc_output\.{ENDS}", r"selector.proj.\1"),
        rename(prefix + rf"enc_output_norm\.{ENDS}", r"selector.norm.\1"),
        rename(prefix + rf"mask_embed\.layers\.(\d+)\.{ENDS}", r"heads.mask.layers.\1.\2"),
        rename(prefix + rf"(?:decoder_norm|decoder\.norm)\.{ENDS}", r"decoder.norm.\1"),
        rename(prefix + rf"{_BOX_NAMES}\.layers\.(\d+)\.{ENDS}", r"heads.box.layers.\1.\2"),
        rename(prefix + rf"decoder\.ref_point_head\.layers\.(\d+)\.{ENDS}", r"decoder.ref_point_head.layers.\1.\2"),
        rename(layer + r"self_attn\.(in_proj_weight|in_proj_bias)", target + r"self_attn.\2"),
        rename(layer + rf"self_attn\.out_proj\.{ENDS}", target + r"self_attn.out_proj.\2"),
        *attention_rules(
            layer + r"cross_attn\.",
            target + "cross_attn.",
            order=range(levels)[::-1] if turn else None,
            heads=heads,
        ),
        rename(layer + rf"cross_attn\.(value_proj|output_proj)\.{ENDS}", target + r"cross_attn.\2.\3"),
        rename(layer + rf"(norm1|norm2|norm3|linear1|linear2)\.{ENDS}", target + r"\2.\3"),
    ]
