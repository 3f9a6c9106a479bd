"""Pictures that a language model has read once: what it keeps of them serves any number of questions."""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mvplm.models.cache import make_cache


@dataclass(frozen=True)
class ReadPictures:
    """U pictures with the fixed text before a question.

    Attributes:
        cache: keys and values of the model. attended: (U, T) int64, 0 at padding.
        following: (U,) int64, the position of the next token; not T where pictures have positions of their own.
    """

    cache: Any
    attended: Tensor
    following: Tensor

    def select(self, rows: Sequence[int]) -> "ReadPictures":
        """The pictures at ``rows`` with a cache of their own, which a model may go on writing into."""
        cache, places = copy.deepcopy(self.cache), torch.tensor(list(rows), device=self.attended.device)
        cache.batch_select_indices(places)
        return ReadPictures(cache, self.attended[places], self.following[places])


@torch.inference_mode()
def read_pictures(model: Any, inputs: dict[str, Any]) -> ReadPictures:
    """Run a model of ``AutoModelForImageTextToText`` over pictures and the text before the questions.

    Args:
        model: it, or one with adapters. inputs: its arguments, text padded on the left.
    """
    attended = inputs["attention_mask"]
    axes, positions = _with_axes(model), positions_of(model, attended)
    cache = make_cache(model.config.get_text_config(decoder=True))
    model(**inputs, **cache_argument(model, cache), position_ids=positions, use_cache=True, logits_to_keep=1)
    following = attended.sum(1)
    if axes is not None and axes.rope_deltas is not None:
        following = following + axes.rope_deltas.to(following)[:, 0]
    return ReadPictures(cache, attended, following)


def cache_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The cache under the name that the model's version of transformers has for it."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    known = inspect.signature(inner.forward).parameters
    return {"cache" if "cache" in known else "past_key_values": cache}


def positions_of(model: Any, attended: Tensor) -> Tensor | None:
    """Positions (B, T) int64 that do not count padding; None where the model gives pictures positions of their own.

    Args:
        model: of ``AutoModelForImageTextToText``. attended: (B, T), 0 at padding.
    """
    return None if _with_axes(model) is not None else (attended.cumsum(1) - 1).clamp(min=0)


def _with_axes(model: Any) -> Any:
    """The part of a model that gives pictures positions in time, height and width; None where there is none."""
    return next((part for part in model.modules() if hasattr(part, "rope_deltas")), None)
