"""Small multimodal language models with random weights, built from settings alone: nothing is downloaded.

They are the classes of transformers at toy size, so whatever holds for them holds for the published ones.
"""

from typing import Any

from torch import nn

from mvplm.models.small.llava import llava_model, llava_processor
from mvplm.models.small.parts import SmallSizes
from mvplm.models.small.qwen import qwen_model, qwen_processor
from mvplm.models.small.tokenizer import small_tokenizer

__all__ = ["SmallSizes", "small_model", "small_processor", "small_tokenizer"]


def small_processor(tokenizer: Any, sizes: SmallSizes) -> Any:
    """The processor of a small model.

    Args:
        tokenizer: of :func:`small_tokenizer`. sizes: of the model.
    """
    return llava_processor(tokenizer, sizes) if sizes.kind == "llava" else qwen_processor(tokenizer, sizes)


def small_model(tokenizer: Any, sizes: SmallSizes) -> nn.Module:
    """A model with random weights.

    Args:
        tokenizer: of :func:`small_tokenizer`. sizes: of the model.

    Raises:
        ValueError: sizes that the architecture cannot have.
    """
    return llava_model(tokenizer, sizes) if sizes.kind == "llava" else qwen_model(tokenizer, sizes)
