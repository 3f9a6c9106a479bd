"""What the teachers of small models from scratch have in common."""

from collections.abc import Iterable
from typing import Any

from torch import nn


def eyes_of(model: Any) -> nn.Module:
    """What makes visual tokens of pictures in a model of ``AutoModelForImageTextToText``."""
    eyes: nn.Module = model.get_encoder(modality="image")
    return eyes


def teach_only(model: nn.Module, parts: Iterable[nn.Module]) -> None:
    """Freeze all weights of a model but those of some of its parts; what was frozen before stays so."""
    taught = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in taught:
            parameter.requires_grad_(False)
