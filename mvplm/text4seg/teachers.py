"""What learns in a run of a model that writes masks: the model itself, or what teaches a small one from scratch."""

from torch import nn

from mvplm.config import Config
from mvplm.data.cells import Ladder
from mvplm.data.token_grids import TokenGrids
from mvplm.models.text_mask.cells import CellTeacher
from mvplm.models.text_mask.looking import LookingTeacher
from mvplm.text4seg.build import TextMaskSystem
from mvplm.textmask import BsdCodec

TEACHERS = ("box.", "steps.", "quarters.", "asked.", "about.")
"""Weights in checkpoints that only training needs."""


def build_learner(system: TextMaskSystem, config: Config) -> nn.Module:
    """What is trained. Weights that it does not teach are frozen; those that were frozen before stay so."""
    model, settings = system.model, config.text_mask
    if settings.learns == "cells":
        return CellTeacher(model.model, steps=Ladder(model.codec).steps)
    if settings.hints:
        image_id = TokenGrids.of(model.model.config).image_id
        answers = settings.learns == "answers"
        return LookingTeacher(
            model.model,
            image_id=image_id,
            weight=settings.looking,
            answers=answers,
            box_weight=settings.box_hints,
            steps=1 + max(model.codec.limit) if settings.box_hints and isinstance(model.codec, BsdCodec) else 1,
        )
    return model
