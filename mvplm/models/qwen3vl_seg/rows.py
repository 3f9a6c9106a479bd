"""Rows for the mask tokens in a base model: spare ones where there are any; tables never shrink."""

from typing import Any

from torch import nn

from mvplm.models.text_mask.tokens import start_new_rows
from mvplm.prompts.box_masks import MASK_TOKENS

_MEANING = dict(zip(MASK_TOKENS, ("start of mask", "mask", "end of mask"), strict=True))


def add_box_mask_tokens(model: nn.Module, tokenizer: Any) -> list[int]:
    """Give a base model and its tokenizer the mask tokens (in place); each row starts as the mean of its meaning's.

    Args:
        model: a Qwen3-VL for conditional generation. tokenizer: its fast tokenizer.

    Returns:
        Ids whose rows are new, ascending; empty when the tokenizer had the tokens before.
    """
    from transformers import AddedToken

    before = set(tokenizer.get_vocab())
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MASK_TOKENS])
    return start_new_rows(model, tokenizer, before=before, describe=_MEANING.__getitem__)
