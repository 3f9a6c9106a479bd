"""The tokenizer of small models."""

from collections.abc import Iterable
from typing import Any

from mvplm.models.small.parts import END, PAD, SPECIAL
from mvplm.prompts.tokens import byte_level_bpe


def small_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Any:
    """A byte-level tokenizer with single digits, the control tokens of pictures and a chat template.

    Args:
        texts: what prompts and answers will be made of. vocab_size: number of ids.
    """
    from transformers import PreTrainedTokenizerFast

    backend = byte_level_bpe(texts, vocab_size=vocab_size, specials=SPECIAL, single_digits=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=PAD, extra_special_tokens=list(SPECIAL[2:])
    )
