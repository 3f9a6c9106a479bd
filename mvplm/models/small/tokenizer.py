"""The tokenizer of small models."""

from collections.abc import Iterable
from typing import Any

from mvplm.models.small.parts import END, PAD, SPECIAL
from mvplm.prompts.tokens import byte_level_bpe

_OFTEN = 1000
"""So often the tokenizer reads a number, which makes it a token before any word is one."""


def small_tokenizer(texts: Iterable[str], *, vocab_size: int, numbers: int = 0) -> Any:
    """A byte-level tokenizer, the control tokens of pictures and a chat template.

    Args:
        texts: what prompts and answers will be made of. vocab_size: number of ids.
        numbers: from 10 to this one every number is a token, on top of ``vocab_size``. 0: digits are single.

    Raises:
        ValueError: too few ids for the numbers.
    """
    from transformers import PreTrainedTokenizerFast

    known = [str(number) for number in range(10, numbers + 1)]
    size = vocab_size + len(known)
    texts = [*texts, *known * _OFTEN]
    backend = byte_level_bpe(texts, vocab_size=size, specials=SPECIAL, digits="runs" if numbers else "single")
    if missing := [number for number in known if backend.token_to_id(number) is None]:
        raise ValueError(f"{vocab_size} ids are too few for the numbers up to {numbers}: {missing[0]} has none")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=PAD, extra_special_tokens=list(SPECIAL[2:])
    )
