"""What learns in a run of a model that writes masks: the model itself, or what teaches a small one from scratch."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mvplm.config import Config
from mvplm.data.cells import Ladder
from mvplm.data.token_grids import TokenGrids
from mvplm.engine import load_weights
from mvplm.models.text_mask.cells import CellTeacher
from mvplm.models.text_mask.looking import LookingTeacher
from mvplm.text4seg.build import TextMaskSystem
from mvplm.textmask import BsdCodec
from mvplm.textmask.answer import NO_TARGET, REF

TEACHERS = ("box.", "steps.", "quarters.", "asked.", "drawing.")
"""Weights in checkpoints that only training needs."""
TEACHER_FILE = "teacher.safetensors"
"""Where a run leaves them for the next leg, beside its saved model."""


def build_learner(system: TextMaskSystem, config: Config) -> nn.Module:
    """What is trained. Weights that it does not teach are frozen; those that were frozen before stay so."""
    model, settings = system.model, config.text_mask
    if settings.learns == "cells":
        drawing = (settings.mask_hints, model.codec.grid)
        return CellTeacher(model.model, steps=Ladder(model.codec).steps, drawing=drawing)
    if settings.hints:
        image_id = TokenGrids.of(model.model.config).image_id
        answers = settings.learns == "answers"
        return LookingTeacher(
            model.model,
            image_id=image_id,
            weight=settings.looking,
            answers=answers,
            texts=any(source.ratio and not source.pictures for source in config.data.sources.values()),
            box_weight=settings.box_hints,
            word_weight=settings.word_hints,
            drawing=(settings.mask_hints, model.codec.grid),
            counts=_counts(system, config),
            steps=1 + max(model.codec.limit) if settings.box_hints and isinstance(model.codec, BsdCodec) else 1,
        )
    return model


def _counts(system: TextMaskSystem, config: Config) -> Tensor:
    """How much each token of the vocabulary (V,) counts in answers; all the same with codecs without boxes."""
    settings, codec, encode = config.text_mask, system.model.codec, system.tokenizer.encode
    counts = torch.ones(system.model.model.get_output_embeddings().weight.shape[0])
    if isinstance(codec, BsdCodec):
        numbers = range(1 + max(codec.limit)) if codec.whole_numbers else range(10)
        counts[[place for number in numbers for place in encode(str(number))]] = settings.edge_weight
        counts[[system.tokenizer.get_added_vocab()[REF], encode(NO_TARGET)[0]]] = settings.opening_weight
    return counts


def save_teacher(learner: nn.Module, folder: Path, *, before: Path | None = None) -> None:
    """Leave what only training needs for the next leg, with what the leg ``before`` left and this one did not need.

    Nothing is written where there is none of both.
    """
    left = {} if before is None or not (before / TEACHER_FILE).is_file() else load_file(before / TEACHER_FILE)
    own = {name: value.detach().cpu().contiguous() for name, value in learner.state_dict().items() if _is_own(name)}
    if left | own:
        save_file(left | own, folder / TEACHER_FILE)


def load_teacher(learner: nn.Module, folder: Path) -> None:
    """Take over what a leg before left in a directory, as far as this one needs it; what is new stays random.

    Raises:
        ValueError: weights of another size; the message names them.
    """
    path = folder / TEACHER_FILE
    if path.is_file():
        needed = {name for name in learner.state_dict() if _is_own(name)}
        left = {name: value for name, value in load_file(path).items() if name in needed}
        try:
            load_weights(learner, left, allow_missing=("",))
        except ValueError as error:
            raise ValueError(
                f"{path}: {error}; legs need one codec with one grid and number of bins, at most 256"
            ) from error


def _is_own(name: str) -> bool:
    return name.startswith(TEACHERS)
