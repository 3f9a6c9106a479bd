"""What a perceiver keeps between seeing and answering: encoded pictures, and a forward pass about them."""

from dataclasses import dataclass

import numpy as np

from mvplm.models.states import Perceived, VisualFeatures
from mvplm.prompts.templates import RESULT_TEXT
from mvplm.structures import Batch


@dataclass
class EncodedImages:
    """Images that went through the vision encoder once, for any number of questions."""

    arrays: list[np.ndarray]
    features: VisualFeatures


@dataclass
class Looked:
    """One forward pass: the batch, what the network said, the captions it wrote (None without), and its seconds."""

    batch: Batch
    perceived: Perceived
    captions: list[str | None]
    seconds: float


def caption_of(text: str) -> str | None:
    """The description a response opens with, without the announcement of the result."""
    text = text.split(RESULT_TEXT.strip())[0].strip()
    return text or None
