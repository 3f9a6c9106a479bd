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
        ValueError: a tag or brick that the tokenizer does not have.
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
