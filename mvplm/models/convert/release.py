"""The public MVP-LM release: one file with everything, in the names of its own code.

With ``as_init`` the weights become a start for training with the paper's conventions: its new parts begin so that the
first pass looks at the selected features alone, and the decoder's levels are turned.
Source: MVP-LM's public release.
"""

from typing import Any

import torch
from torch import Tensor

from mvplm.models.convert.detr_family import pixel_rules, predictor_rules
from mvplm.models.convert.phi import phi_rules
from mvplm.models.convert.pixel_decoder import ENDS
from mvplm.models.convert.rules import Rule, drop, rename
from mvplm.models.convert.source import Fills, Options, Source, Tensors
from mvplm.models.convert.swin import swin_rules

LEVELS = 4
COVERS = ("encoder", "connector", "llm", "text", "pixel_decoder", "selector", "query", "stuff", "decoder", "heads")
_BLOCK = r"model\.mm_projector\.layer1\.0\."
_BN = r"(weight|bias|running_mean|running_var|num_batches_tracked)"


def _fills(options: Options) -> Fills:
    """What the paper's network has beyond the release's. The last layer is zero: base queries start at zero."""
    if not options.as_init:
        return {}
    zero = (torch.zeros_like, "0: the release has no such part")
    seeded = (_spread, "random: the release has no such part")
    return {
        r"llm\.lm_head\.bias": zero,
        r"query\.base\.layers\.1\.(weight|bias)": zero,
        r"query\.base\.layers\.0\.bias": zero,
        r"query\.base\.layers\.0\.weight": seeded,
        r"query\.slots": zero,
        r"text\.no_object(_bias)?": zero,
    }


def _spread(empty: Tensor) -> Tensor:
    return torch.nn.init.xavier_uniform_(empty, generator=torch.Generator().manual_seed(0))


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    left_over = "left over in the release, never used by it"
    has_encoder = any(name.startswith("model.vision_tower.") for name in tensors)
    return [
        *phi_rules(heads=options.text_heads),
        *(swin_rules(tensors, prefix=r"model\.vision_tower\.") if has_encoder else ()),
        rename(_BLOCK + r"(conv1|conv2)\.weight", r"connector.\1.weight"),
        rename(_BLOCK + rf"(bn1|bn2)\.{_BN}", r"connector.\1.\2"),
        rename(_BLOCK + r"downsample\.0\.weight", "connector.skip.0.weight"),
        rename(_BLOCK + rf"downsample\.1\.{_BN}", r"connector.skip.1.\1"),
        rename(rf"model\.mm_projector\.fc\.{ENDS}", r"connector.proj.\1"),
        *pixel_rules(r"pixel_decoder\.", levels=LEVELS, order="low2high", heads=options.heads),
        *predictor_rules(r"predictor\.", levels=LEVELS, turn=options.as_init, heads=options.heads),
        rename(rf"predictor\.CLASS_proj\.layers\.(\d+)\.{ENDS}", r"heads.word.layers.\1.\2"),
        rename(rf"predictor\.SEG_proj\.layers\.(\d+)\.{ENDS}", r"heads.sentence.layers.\1.\2"),
        rename(r"stuff_query\.weight", "stuff.content"),
        rename(r"stuff_embed\.weight", "stuff.boxes"),
        rename(rf"class_name_projector\.{ENDS}", r"text.word.\1"),
        rename(rf"SEG_token_projector\.{ENDS}", r"text.sentence.\1"),
        drop(r"predictor\.(SEG_query_embed|SEG_query_feat)\.weight", left_over),
        drop(rf"predictor\.REGION_proj\..*{ENDS}", left_over),
        drop(r"(thing_query|thing_embed)\.weight", left_over),
        drop(rf"(seg_query_projector|expanded_seg_query_project|region_projector)\..*{ENDS}", left_over),
    ]


def _settings(options: Options) -> dict[str, Any]:
    if not options.as_init:
        return {"behaviour": "released"}
    return {
        "model": {
            "text": {"proj": "linear"},
            "connector": {"conv2_repeats": 2},
            "decoder": {"anchor_scale": "coarse_small", "level_order": "fine_to_coarse"},
        }
    }


MVPLM_RELEASE = Source(
    "mvplm-release",
    "a model of the public MVP-LM release (also its connector alone)",
    covers=COVERS,
    rules=_rules,
    fills=_fills,
    settings=_settings,
    partial=False,
)
"""A whole model from the public release, in the behaviour 'released'."""
