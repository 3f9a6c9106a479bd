"""Mask2Former as detectron2 stores it, Swin backbone.

Source: Mask2Former.
"""

from mvplm.models.convert.mask2former import (
    COVERS,
    FRESH,
    LEVELS,
    UNUSED_CLASSES,
    UNUSED_CROSS,
    UNUSED_QUERIES,
    level_rules,
)
from mvplm.models.convert.pixel_decoder import ENDS, encoder_layer_rules, fine_map_rules, input_rules
from mvplm.models.convert.rules import Rule, drop, rename
from mvplm.models.convert.source import Options, Source, Tensors
from mvplm.models.convert.swin import swin_rules

# Older files have the pixel decoder's tensors directly under the head.
_PIXEL = r"(?:model\.)?sem_seg_head\.(?:pixel_decoder\.)?"
_PREDICTOR = r"(?:model\.)?sem_seg_head\.predictor\."


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    attention = _PREDICTOR + r"transformer_self_attention_layers\.(\d+)\."
    feed_forward = _PREDICTOR + r"transformer_ffn_layers\.(\d+)\."
    layer = r"decoder.layers.\1."
    return [
        *swin_rules(tensors, prefix=r"(?:model\.)?backbone\."),
        *input_rules(_PIXEL + r"input_proj\.{}", levels=LEVELS, reverse=True),
        *level_rules(
            _PIXEL + r"transformer\.encoder\.layers\.(\d+)\.self_attn\.",
            _PIXEL + r"transformer\.level_embed",
            options=options,
        ),
        *encoder_layer_rules(_PIXEL),
        *fine_map_rules(_PIXEL),
        rename(attention + r"self_attn\.(in_proj_weight|in_proj_bias)", layer + r"self_attn.\2"),
        rename(attention + rf"self_attn\.out_proj\.{ENDS}", layer + r"self_attn.out_proj.\2"),
        rename(attention + rf"norm\.{ENDS}", layer + r"norm2.\2"),
        rename(feed_forward + rf"(linear1|linear2)\.{ENDS}", layer + r"\2.\3"),
        rename(feed_forward + rf"norm\.{ENDS}", layer + r"norm3.\2"),
        rename(_PREDICTOR + rf"decoder_norm\.{ENDS}", r"decoder.norm.\1"),
        rename(_PREDICTOR + rf"mask_embed\.layers\.(\d+)\.{ENDS}", r"heads.mask.layers.\1.\2"),
        drop(_PREDICTOR + r"transformer_cross_attention_layers\..*", UNUSED_CROSS),
        drop(_PREDICTOR + r"(query_feat|static_query|query_embed|level_embed)\.weight", UNUSED_QUERIES),
        drop(_PREDICTOR + rf"class_embed\.{ENDS}", UNUSED_CLASSES),
        drop(r"(?:model\.)?criterion\.empty_weight", "weight of a loss"),
    ]


MASK2FORMER_D2 = Source(
    "mask2former-d2",
    "Mask2Former in detectron2's layout (.pkl or .pth), Swin backbone",
    covers=COVERS,
    rules=_rules,
    fresh=FRESH,
)
"""A start for training from a detectron2 Mask2Former."""
