"""An answer cut into tags, bricks, row breaks and text: from a string, or from token ids.

Ids are recognised as such: a brick that a model spells letter by letter stays text.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from typing import Any

import numpy as np

from mvplm.textmask.answer import TAGS
from mvplm.textmask.bricks import BRICKS, ROW_BREAK

TEXT = -1
TAG = ROW_BREAK + 1
"""Code of ``<ref>``; the other tags follow in the order of ``TAGS``."""
SPELLING = (*BRICKS, "\n", *TAGS)
"""Text of every code: bricks, the row break, tags."""
_CODES = {text: code for code, text in enumerate(SPELLING)}
_PIECE = re.compile(r"<(?:fg|bg)(?:[1-9]|[1-5][0-9]|6[0-3])>|</?(?:ref|box|seg)>|\n|[^<\n]+|<")
_UNKNOWN = "\ufffd"


@dataclass(frozen=True)
class Items:
    """Pieces of an answer in order.

    Attributes:
        codes: (K,) int64 index into ``SPELLING``, or -1 for text. texts: K strings.
        ends: (K + 1,) int64, characters or ids before each piece and at the end. by_id: ids were cut, not a string.
    """

    codes: np.ndarray
    texts: list[str]
    ends: np.ndarray
    by_id: bool = False

    def text(self, start: int, stop: int) -> str:
        """Pieces ``start`` to ``stop - 1`` as one string."""
        return "".join(self.texts[start:stop])


def cut_text(text: str) -> Items:
    """Pieces of a string, by spelling."""
    texts = _PIECE.findall(text)
    codes = np.array([_CODES.get(piece, TEXT) for piece in texts], np.int64)
    return Items(codes, texts, np.array([*accumulate(map(len, texts), initial=0)], np.int64))


@dataclass(frozen=True)
class TokenTable:
    """Which ids of a tokenizer stand for which codes.

    Attributes:
        ids: (133,) int64 id of every code, -1 for a token that the tokenizer does not have.
        codes: (vocabulary,) int64 code of every id, -1 for text.
        ending: ids that may stand after an answer: end of text and padding.
    """

    ids: np.ndarray
    codes: np.ndarray
    ending: frozenset[int]


def token_table(tokenizer: Any) -> TokenTable:
    """The table of a Hugging Face tokenizer; kept until tokens are added."""
    return _token_table(tokenizer, len(tokenizer))


@lru_cache(maxsize=8)
def _token_table(tokenizer: Any, size: int) -> TokenTable:
    added = tokenizer.get_added_vocab()
    ids = np.array([added.get(text, -1) for text in SPELLING], np.int64)
    line = tokenizer.encode("\n", add_special_tokens=False)
    if len(line) == 1:
        ids[ROW_BREAK] = line[0]
    known = np.flatnonzero(ids >= 0)
    codes = np.full(max(size, int(ids.max()) + 1), TEXT, np.int64)
    codes[ids[known]] = known
    ending = set(tokenizer.all_special_ids) - set(ids.tolist())
    return TokenTable(ids, codes, frozenset(ending))


def decode_text(tokenizer: Any, ids: list[int]) -> str:
    """Text of ids, special tokens included; an id outside of the vocabulary is one replacement character."""
    size = len(tokenizer)
    return "".join(
        tokenizer.decode(list(run), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if known
        else _UNKNOWN * len(list(run))
        for known, run in groupby(ids, key=lambda token: 0 <= token < size)
    )


def without_ending(tokenizer: Any, ids: list[int]) -> list[int]:
    """Ids without the end-of-text and padding tokens after them."""
    ending = token_table(tokenizer).ending
    stop = len(ids)
    while stop and ids[stop - 1] in ending:
        stop -= 1
    return ids[:stop]


def cut_ids(tokenizer: Any, ids: list[int]) -> Items:
    """Pieces of token ids; neighbouring ids of text are one piece."""
    table = token_table(tokenizer)
    size = len(table.codes)
    given = np.array([token if 0 <= token < size else -1 for token in ids], np.int64)
    codes = np.where(given >= 0, table.codes[given], TEXT)
    marked = codes != TEXT
    begins = np.ones(len(codes) + 1, bool)
    begins[1:-1] = marked[1:] | marked[:-1]
    bounds = begins.nonzero()[0] if len(codes) else np.zeros(1, np.int64)
    found, places = codes[bounds[:-1]], bounds.tolist()
    texts = [
        SPELLING[code] if code != TEXT else decode_text(tokenizer, ids[i:j])
        for code, i, j in zip(found.tolist(), places[:-1], places[1:], strict=True)
    ]
    return Items(found, texts, bounds, by_id=True)


def add_mask_tokens(tokenizer: Any) -> int:
    """Add the six tags and 126 bricks as ordinary (not special) tokens; returns how many were new."""
    from tokenizers import AddedToken

    known = tokenizer.get_vocab()
    missing = [text for text in (*TAGS, *BRICKS) if text not in known]
    plain = [AddedToken(text, special=False, normalized=False, lstrip=False, rstrip=False) for text in missing]
    return int(tokenizer.add_tokens(plain))
