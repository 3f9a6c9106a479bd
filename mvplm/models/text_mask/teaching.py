"""What the teachers of small models from scratch have in common."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def eyes_of(model: Any) -> list[nn.Module]:
    """What makes visual tokens of pictures in a model of ``AutoModelForImageTextToText``, its projector included."""
    projector = getattr(model.model, "multi_modal_projector", None)
    return [model.get_encoder(modality="image"), *([] if projector is None else [projector])]


def teach_only(model: nn.Module, parts: Iterable[nn.Module]) -> None:
    """Freeze all weights of a model but those of some of its parts; what was frozen before stays so."""
    taught = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in taught:
            parameter.requires_grad_(False)
