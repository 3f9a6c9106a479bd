"""An image and its caption: alignment of the connector."""

import random

from mvplm.data.unify.settings import Unified
from mvplm.prompts import Conversation, compose_response
from mvplm.structures import Record


def unify_caption(record: Record, *, rng: random.Random, training: bool) -> Unified:
    """The conversation that is nothing but a caption: one of the record's, uniformly; open in evaluation.

    Raises:
        ValueError: training on a record without a caption.
    """
    response = None
    if training:
        response = compose_response("caption", captions=record.captions, rng=rng)
        if not response:
            raise ValueError(f"image {record.image_id}: no caption to learn from")
    return Unified(Conversation("caption", response=response), (), (), False, (), "caption", "caption")
