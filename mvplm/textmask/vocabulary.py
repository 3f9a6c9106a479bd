"""The tokens of a tokenizer as bytes, in order, so that all tokens with a common beginning stand together."""

import json
import re
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mvplm.textmask.items import token_table
from mvplm.textmask.symbols import NumberRange

_ROWS = re.compile(rb"\| |\n(?!\n)")
_BARRED = b"<>\x7f"
_ANCHOR = "0"
_MOST_DIGITS = 6


@dataclass(frozen=True)
class NumberTokens:
    """Tokens of digits (R,): their values, how many digits they have, and whether the first of several is a zero."""

    ids: np.ndarray
    values: np.ndarray
    digits: np.ndarray
    padded: np.ndarray

    @classmethod
    def of(cls, tokens: list[tuple[bytes, int]]) -> "NumberTokens":
        """From the bytes and ids of tokens."""
        digits = np.array([len(text) for text, _ in tokens], np.int64)
        padded = np.array([len(text) > 1 and text[0] == ord("0") for text, _ in tokens], bool)
        values = np.array([int(text) for text, _ in tokens], np.int64)
        return cls(np.array([token for _, token in tokens], np.int64), values, digits, padded)

    def within(self, number: NumberRange) -> list[int]:
        """Ids after which the number can still become one of its range; the longest where there is no choice."""
        prefix, low, high = number.prefix, number.low, number.high
        if prefix == 0:
            return []
        written = self.values if prefix < 0 else prefix * 10**self.digits + self.values
        good = np.zeros(len(self.ids), bool)
        for more in range(len(str(high))):
            first = written * 10**more
            good |= (np.maximum(first, low) <= np.minimum(first + 10**more - 1, high)) & ((written > 0) | (more == 0))
        if prefix < 0:
            good &= ~self.padded
        if low == high and good.any():
            good &= self.digits == self.digits[good].max()
        return self.ids[good].tolist()


class Vocabulary:
    """Ordinary tokens by their bytes, and tokens that stand for themselves.

    Args:
        tokens: bytes of every ordinary token by id. atoms: id of every code of :data:`mvplm.textmask.items.SPELLING`
            that is a token of its own. ends: ids that end an answer.
        barred: bytes that free text may not hold besides control characters.

    Attributes:
        texts, ids: ordinary tokens in the order of their bytes. size: largest id + 1.
        plain, blank: ids, ascending, of tokens that free text may hold; blank ones are nothing but spaces.
        leaving: positions of tokens with a barred byte, which may end free text.
        span: most rows or cells that one token can begin.
    """

    def __init__(
        self,
        tokens: Mapping[int, bytes],
        *,
        atoms: Mapping[int, int],
        ends: Collection[int],
        barred: bytes = _BARRED,
    ) -> None:
        self.atoms, self.ends, self.barred = dict(atoms), tuple(sorted(ends)), barred
        taken = {*self.atoms.values(), *self.ends}
        ordered = sorted((text, token) for token, text in tokens.items() if text and token not in taken)
        self.texts = [text for text, _ in ordered]
        self.ids = [token for _, token in ordered]
        self.bytes_of = {token: text for text, token in ordered}
        self.code_of = {token: code for code, token in self.atoms.items()}
        self.size = max([*self.ids, *taken], default=-1) + 1
        usable = [(text, token) for text, token in ordered if _is_plain(text, barred)]
        self.plain = np.array(sorted(token for text, token in usable if text.strip(b" ")), np.int64)
        self.blank = np.array(sorted(token for text, token in usable if not text.strip(b" ")), np.int64)
        self.leaving = [place for place, text in enumerate(self.texts) if any(byte in barred for byte in text)]
        self._numbers: dict[bytes, NumberTokens] = {}
        self.span = max((len(_ROWS.findall(text)) for text in self.texts), default=1)

    def inside(self, prefix: bytes, bounds: tuple[int, int]) -> tuple[int, int]:
        """The range of ``texts`` that begin with ``prefix``, within ``bounds``."""
        low = bisect_left(self.texts, prefix, *bounds)
        # Every byte string that begins with the prefix is smaller than the prefix with its last byte one larger.
        above = prefix[:-1] + bytes([prefix[-1] + 1]) if prefix[-1] < 255 else prefix + b"\xff" * 256
        return low, bisect_left(self.texts, above, low, bounds[1])

    def numbers(self, prefix: bytes, bounds: tuple[int, int]) -> "NumberTokens":
        """Tokens that are ``prefix`` and digits, out of those in ``bounds``, which all begin with it."""
        if prefix not in self._numbers:
            digits = [
                (self.texts[place][len(prefix) :], self.ids[place])
                for first in b"0123456789"
                for place in range(*self.inside(prefix + bytes([first]), bounds))
            ]
            self._numbers[prefix] = NumberTokens.of(
                [(t, i) for t, i in digits if t.isdigit() and len(t) <= _MOST_DIGITS]
            )
        return self._numbers[prefix]

    def has(self, text: bytes) -> bool:
        """Whether a token has exactly these bytes."""
        place = bisect_left(self.texts, text)
        return place < len(self.texts) and self.texts[place] == text


def _is_plain(token: bytes, barred: bytes) -> bool:
    """Whether free text may hold a token: it is text on its own, without control characters and barred bytes."""
    if any(byte < 32 or byte in barred for byte in token):
        return False
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def vocabulary_of(tokenizer: Any, ends: Collection[int] | None = None) -> Vocabulary:
    """Vocabulary of a Hugging Face tokenizer; kept until tokens are added.

    Args:
        tokenizer: a fast one. ends: ids that end an answer; default: its end-of-text token.

    Raises:
        ValueError: no end-of-text token.
    """
    if ends is None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer has no end-of-text token (eos_token); pass ends=[id]")
        ends = [tokenizer.eos_token_id]
    return _vocabulary(tokenizer, len(tokenizer), ends=tuple(ends))


def vocabulary_with(
    tokenizer: Any, atoms: Collection[str], *, ends: Collection[int], barred: bytes = _BARRED
) -> Vocabulary:
    """Vocabulary of a tokenizer in which some added tokens stand for themselves; kept until tokens are added.

    Args:
        tokenizer: a fast Hugging Face one. atoms: added tokens, whose places in the list are their codes.
        ends: ids that end an answer. barred: see :class:`Vocabulary`.

    Raises:
        ValueError: a token of ``atoms`` is not an added token.
    """
    return _vocabulary_with(tokenizer, len(tokenizer), atoms=tuple(atoms), ends=tuple(ends), barred=barred)


@lru_cache(maxsize=8)
def _vocabulary_with(
    tokenizer: Any, size: int, *, atoms: tuple[str, ...], ends: tuple[int, ...], barred: bytes
) -> Vocabulary:
    added = tokenizer.get_added_vocab()
    if missing := [token for token in atoms if token not in added]:
        raise ValueError(f"the tokenizer has no token {missing[0]!r}; add it first")
    codes = {code: added[token] for code, token in enumerate(atoms)}
    apart = {*added.values(), *tokenizer.all_special_ids}
    ordinary = [token for token in range(size) if token not in apart]
    return Vocabulary(_token_bytes(tokenizer, ordinary), atoms=codes, ends=ends, barred=barred)


@lru_cache(maxsize=8)
def _vocabulary(tokenizer: Any, size: int, *, ends: tuple[int, ...]) -> Vocabulary:
    table = token_table(tokenizer)
    added = set(tokenizer.get_added_vocab().values())
    atoms = {code: token for code, token in enumerate(table.ids.tolist()) if token in added}
    apart = added | set(tokenizer.all_special_ids)
    ordinary = [token for token in range(size) if token not in apart]
    return Vocabulary(_token_bytes(tokenizer, ordinary), atoms=atoms, ends=ends)


def _token_bytes(tokenizer: Any, ids: list[int]) -> dict[int, bytes]:
    """What every token adds to a text that already holds something, but for tokens that are no text of their own."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    names = tokenizer.convert_ids_to_tokens(ids)
    if '"ByteLevel"' in json.dumps(backend["decoder"]):
        letters = _byte_letters()
        known = {token: name for token, name in zip(ids, names, strict=True) if name is not None}
        return {
            token: bytes(letters[letter] for letter in name)
            for token, name in known.items()
            if all(letter in letters for letter in name)
        }
    # Decoders may treat the first token apart, so each is decoded behind another one.
    anchor = tokenizer.encode(_ANCHOR, add_special_tokens=False)
    before = tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
    texts = tokenizer.batch_decode([[*anchor, token] for token in ids], clean_up_tokenization_spaces=False)
    return {
        token: text[len(before) :].encode()
        for token, text in zip(ids, texts, strict=True)
        if text.startswith(before) and "\ufffd" not in text
    }


def _byte_letters() -> dict[str, int]:
    """The byte behind every letter of a byte-level vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {chr(byte): byte for byte in shown}
    hidden = [byte for byte in range(256) if byte not in shown]
    return letters | {chr(256 + place): byte for place, byte in enumerate(hidden)}
