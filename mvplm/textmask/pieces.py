"""Token ids of an answer, put together from pieces so that training and decoding agree on every boundary."""

import re
from typing import Any

from mvplm.textmask.items import SPELLING, TAG, TEXT, cut_text, token_table

_BETWEEN = r"|\[\[|\]\]|\n| |[^0-9\[\]\n ]+|[\[\]]"
_DIGITS, _NUMBERS = re.compile("[0-9]" + _BETWEEN), re.compile("[0-9]+" + _BETWEEN)


def spell_ids(text: str, tokenizer: Any, *, bricks: bool, whole_numbers: bool = False) -> list[int]:
    """Ids of an answer: tags and bricks by id; in boxes single digits, brackets and spaces; other text as it comes.

    Args:
        text: a box-wise answer. tokenizer: Hugging Face. bricks: the masks are bricks; otherwise they are text, and
            tags that the tokenizer does not have are text, too.
        whole_numbers: numbers of boxes are what the tokenizer makes of them, not single digits.

    Raises:
        ValueError: a tag or brick that the tokenizer does not have.
    """
    table = token_table(tokenizer)
    cut = _NUMBERS if whole_numbers else _DIGITS
    items = cut_text(text)
    ids: list[int] = []
    inside = ""
    for code, piece in zip(items.codes.tolist(), items.texts, strict=True):
        if code != TEXT and table.ids[code] >= 0:
            ids.append(int(table.ids[code]))
        elif code != TEXT and bricks:
            raise ValueError(
                f"the tokenizer has no token {SPELLING[code]!r}: call mvplm.textmask.add_mask_tokens on it first"
            )
        else:
            parts = cut.findall(piece) if inside == "<box>" else [piece]
            ids += [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
        if code >= TAG:
            inside = piece
    return ids
