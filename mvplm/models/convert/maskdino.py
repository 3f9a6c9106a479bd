"""Mask DINO in detectron2's layout, Swin backbone.

Source: Mask DINO.
"""

from mvplm.models.convert.detr_family import (
    COVERS,
    FRESH,
    checked_order,
    count_levels,
    pixel_rules,
    predictor_rules,
    settings,
)
from mvplm.models.convert.pixel_decoder import ENDS
from mvplm.models.convert.rules import Rule, drop
from mvplm.models.convert.source import Options, Source, Tensors
from mvplm.models.convert.swin import swin_rules

OUTER = r"(?:model\.)?"
HEAD = OUTER + r"sem_seg_head\."


def family_rules(tensors: Tensors, options: Options) -> list[Rule]:
    """What Mask DINO and OpenSeeD have in common."""
    levels, order = count_levels(tensors), checked_order(options)
    return [
        *swin_rules(tensors, prefix=OUTER + r"backbone\."),
        *pixel_rules(HEAD + r"pixel_decoder\.", levels=levels, order=order, heads=options.heads),
        *predictor_rules(HEAD + r"predictor\.", levels=levels, turn=order == "low2high", heads=options.heads),
        drop(OUTER + r"criterion\.empty_weight", "weight of a loss"),
    ]


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    classes = "fixed classes; here names are compared"
    return [
        *family_rules(tensors, options),
        drop(HEAD + rf"predictor\.class_embed\.{ENDS}", classes),
        drop(HEAD + r"predictor\.label_enc\.weight", classes),
        drop(HEAD + r"predictor\.(query_feat|query_embed)\.weight", "queries of its own; here they come from the text"),
    ]


MASKDINO = Source(
    "maskdino",
    "Mask DINO in detectron2's layout, Swin backbone",
    covers=COVERS,
    rules=_rules,
    fresh=FRESH,
    settings=settings,
)
"""A start for training from Mask DINO."""
