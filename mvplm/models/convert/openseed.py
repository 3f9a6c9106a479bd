"""OpenSeeD in its own layout, Swin backbone.

Source: OpenSeeD.
"""

from mvplm.models.convert.detr_family import COVERS, FRESH, settings
from mvplm.models.convert.maskdino import HEAD, OUTER, family_rules
from mvplm.models.convert.rules import Rule, drop, rename
from mvplm.models.convert.source import Options, Source, Tensors


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    language = "text side; here a language model reads the names"
    return [
        *family_rules(tensors, options),
        rename(HEAD + r"predictor\.query_feat\.weight", "stuff.content"),
        rename(HEAD + r"predictor\.query_embed\.weight", "stuff.boxes"),
        drop(HEAD + r"predictor\.(class_embed|lang_mapper|label_enc)(\.weight|\.bias)?", language),
        drop(OUTER + r"(?:sem_seg_head\.(?:predictor\.)?)?lang_encoder\..*", language),
    ]


OPENSEED = Source(
    "openseed",
    "OpenSeeD, Swin backbone",
    covers=(*COVERS, "stuff"),
    rules=_rules,
    fresh=(*FRESH, r"stuff\..*"),
    settings=settings,
)
"""A start for training from OpenSeeD."""
