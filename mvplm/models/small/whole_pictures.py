"""Visual tokens that see all of their picture; under causal attention each sees only what stands in front of it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

FULL = "vision"
"""Value of ``use_bidirectional_attention`` in a model's configuration; Gemma's name for the same."""


def attend_to_whole_pictures(model: Any) -> None:
    """Make a model do what its configuration says: with ``use_bidirectional_attention: vision`` visual tokens of a
    picture attend to each other in both directions. Models without that setting are left as they are.

    "The lowest star" cannot be told from what stands above it. Source: prefix attention of PaliGemma (arXiv 2407.07726)
    and Gemma 3, for models whose class in transformers is causal.

    Args:
        model: of ``AutoModelForImageTextToText`` that takes masks (B, 1, T, T), such as LLaVA.
    """
    if getattr(model.config, "use_bidirectional_attention", None) == FULL:
        model.model.register_forward_pre_hook(_with_whole_pictures, with_kwargs=True)


def whole_picture_mask(attended: Tensor, visual: Tensor, *, dtype: torch.dtype) -> Tensor:
    """What is added to attention scores, (B, 1, T, T): 0 where a token may look, the smallest number elsewhere.

    Padding sees itself alone, since a softmax over nothing is not a number.

    Args:
        attended: (B, T), 0 at padding. visual: (B, T) bool, visual tokens; neighbours are of one picture.
    """
    length = attended.shape[1]
    starts = visual & ~pad(visual, (1, 0))[:, :-1]
    picture = torch.where(visual, starts.cumsum(1), 0)
    same = (picture[:, :, None] == picture[:, None]) & visual[:, None]
    causal = torch.ones(length, length, dtype=torch.bool, device=attended.device).tril()
    allowed = (causal | same) & attended.bool()[:, None]
    allowed |= torch.eye(length, dtype=torch.bool, device=attended.device)
    closed = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=attended.device)
    return torch.where(allowed, torch.zeros_like(closed), closed)[:, None]


def _with_whole_pictures(inner: nn.Module, *call: Any) -> Any:
    """Replace the mask of a call that brings pictures; later calls, which only go on writing, are causal anyway."""
    args, kwargs = call
    if kwargs.get("pixel_values") is None:
        return None
    model: Any = inner
    visual = kwargs["input_ids"] == model.config.image_token_id
    # Pictures may come in another type than the weights, and attention takes a mask of their type alone.
    mask = whole_picture_mask(kwargs["attention_mask"], visual, dtype=model.dtype)
    return args, {**kwargs, "attention_mask": mask}
