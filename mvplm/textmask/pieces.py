"""Token ids of an answer, put together from pieces so that training and decoding agree on every boundary."""

import re
from typing import Any

from mvplm.textmask.items import SPELLING, TAG, TEXT, cut_text, token_table

_PART = re.compile(r"[0-9]|\[\[|\]\]|\n| |[^0-9\[\]\n ]+|[\[\]]")


def spell_ids(text: str, tokenizer: Any, *, bricks: bool) -> list[int]:
    """Ids of an answer: tags and bricks by id; in boxes single digits, brackets and spaces; other text as it comes.

    Args:
        text: a box-wise answer. tokenizer: Hugging Face. bricks: the masks are bricks; otherwise they are text, and
            tags that the tokenizer does not have are text, too.

    Raises:
        ValueError: a tag or brick that the tokenizer does not have, digits that are not tokens of their own.
    """
    table = token_table(tokenizer)
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
            parts = _PART.findall(piece) if inside == "<box>" else [piece]
            ids += [token for part in parts for token in tokenizer.encode(part, add_special_tokens=False)]
        if code >= TAG:
            inside = piece
    return ids


def check_digits(tokenizer: Any) -> dict[str, int]:
    """Id of every digit.

    Raises:
        ValueError: a digit that is not one token.
    """
    found = {}
    for digit in "0123456789":
        ids = tokenizer.encode(digit, add_special_tokens=False)
        if len(ids) != 1:
            raise ValueError(f"the tokenizer has no token for the digit {digit!r}; coordinates need single digits")
        found[digit] = int(ids[0])
    return found
