"""Rows of a batch that show one picture: a LLaVA encodes it once for all of them."""

from typing import Any

import torch
from torch import Tensor, nn

from mvplm.structures.written import PICTURE_ROWS


def can_share(model: Any) -> bool:
    """Whether a model of ``AutoModelForImageTextToText`` can.

    Visual tokens of LLaVA depend on pixels alone and are equally many for every picture, but for Pixtral's encoder.
    """
    return bool(model.config.model_type == "llava" and model.config.vision_config.model_type != "pixtral")


def share_pictures(model: Any) -> None:
    """Make a model take ``picture_rows`` with fewer pictures than rows; models that cannot share are left as they are.

    Args:
        model: of ``AutoModelForImageTextToText``.
    """
    if can_share(model):
        model.model.register_forward_pre_hook(_with_shared, with_kwargs=True)


def _with_shared(inner: nn.Module, *call: Any) -> Any:
    """Replace pictures of a call by visual tokens, repeated for every row that shows them."""
    args, kwargs = call
    rows = kwargs.pop(PICTURE_ROWS, None)
    if rows is None:
        return None
    model: Any = inner
    ids = kwargs["input_ids"]
    features = model.get_image_features(pixel_values=kwargs["pixel_values"]).pooler_output
    tokens = features if isinstance(features, Tensor) else torch.stack(list(features))
    words = model.get_input_embeddings()(ids)
    visual = (ids == model.config.image_token_id)[..., None]
    embedded = words.masked_scatter(visual, tokens[rows].to(words))
    return args, {**kwargs, "input_ids": None, "pixel_values": None, "inputs_embeds": embedded}
