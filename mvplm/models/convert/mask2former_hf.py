"""Mask2Former of transformers (``Mask2FormerForUniversalSegmentation``, ``Mask2FormerModel``), Swin backbone.

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
from mvplm.models.convert.pixel_decoder import ENDS, PIXEL, input_rules
from mvplm.models.convert.rules import Rule, drop, join, rename
from mvplm.models.convert.source import Options, Source, Tensors
from mvplm.models.convert.swin_hf import hf_swin_rules

_PIXEL = r"(?:model\.)?pixel_level_module\.decoder\."
_LAYER = _PIXEL + r"encoder\.layers\.(\d+)\."
_MODULE = r"(?:model\.)?transformer_module\."
_DECODER = _MODULE + r"decoder\."


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    return [
        *hf_swin_rules(r"(?:model\.)?pixel_level_module\.encoder\."),
        *_pixel_rules(options),
        *_decoder_rules(),
        drop(_DECODER + r"layers\.\d+\.cross_attn(_layer_norm)?\..*", UNUSED_CROSS),
        drop(_MODULE + r"(queries_embedder|queries_features|level_embed)\.weight", UNUSED_QUERIES),
        drop(rf"class_predictor\.{ENDS}", UNUSED_CLASSES),
        drop(r"criterion\.empty_weight", "weight of a loss"),
    ]


def _pixel_rules(options: Options) -> list[Rule]:
    target = PIXEL + r"encoder.\1."
    renamed = {"self_attn_layer_norm": "norm1", "fc1": "linear1", "fc2": "linear2", "final_layer_norm": "norm2"}
    return [
        *input_rules(_PIXEL + r"input_projections\.{}", levels=LEVELS, reverse=True),
        *level_rules(_LAYER + r"self_attn\.", _PIXEL + "level_embed", options=options),
        rename(rf"{_LAYER}self_attn\.(value_proj|output_proj)\.{ENDS}", target + r"self_attn.\2.\3"),
        *(rename(rf"{_LAYER}{old}\.{ENDS}", rf"{target}{new}.\2") for old, new in renamed.items()),
        rename(_PIXEL + r"adapter_1\.0\.weight", PIXEL + "lateral.weight"),
        rename(_PIXEL + rf"adapter_1\.1\.{ENDS}", PIXEL + r"lateral_norm.\1"),
        rename(_PIXEL + r"layer_1\.0\.weight", PIXEL + "output.weight"),
        rename(_PIXEL + rf"layer_1\.1\.{ENDS}", PIXEL + r"output_norm.\1"),
        rename(_PIXEL + rf"mask_projection\.{ENDS}", PIXEL + r"mask_features.\1"),
    ]


def _decoder_rules() -> list[Rule]:
    layer, target = _DECODER + r"layers\.(\d+)\.", r"decoder.layers.\1."
    renamed = {"self_attn_layer_norm": "norm2", "fc1": "linear1", "fc2": "linear2", "final_layer_norm": "norm3"}
    why = "query, key and value put together"
    return [
        *join([rf"{layer}self_attn\.{x}_proj\.weight" for x in "qkv"], target + "self_attn.in_proj_weight", why=why),
        *join([rf"{layer}self_attn\.{x}_proj\.bias" for x in "qkv"], target + "self_attn.in_proj_bias", why=why),
        rename(rf"{layer}self_attn\.out_proj\.{ENDS}", target + r"self_attn.out_proj.\2"),
        *(rename(rf"{layer}{old}\.{ENDS}", rf"{target}{new}.\2") for old, new in renamed.items()),
        rename(_DECODER + rf"layernorm\.{ENDS}", r"decoder.norm.\1"),
        rename(
            _DECODER + rf"mask_predictor\.mask_embedder\.(\d+)\.0\.{ENDS}",
            r"heads.mask.layers.\1.\2",
        ),
    ]


MASK2FORMER_HF = Source(
    "mask2former-hf",
    "Mask2Former of transformers, Swin backbone",
    covers=COVERS,
    rules=_rules,
    fresh=FRESH,
)
"""A start for training from a Mask2Former of transformers."""
