"""The alphabet of a grammar: bytes of ordinary text, and tokens that stand for themselves.

A symbol below 256 is a byte. A tag or brick that the tokenizer has as a token of its own is one symbol above; one that
it lacks is spelled in bytes. ``END`` is any token that ends the answer.
"""

from collections.abc import Container
from dataclasses import dataclass

from mvplm.textmask.items import TEXT, cut_text

ATOM = 256
END = 1024
Symbols = tuple[int, ...]


@dataclass(frozen=True)
class NumberRange:
    """A number from ``low`` to ``high`` of which the digits of ``prefix`` are written; -1: none yet."""

    prefix: int
    low: int
    high: int


def spell(text: str, atoms: Container[int]) -> Symbols:
    """Symbols of a text; ``atoms`` are the codes (of :data:`mvplm.textmask.items.SPELLING`) that are tokens."""
    items = cut_text(text)
    out: list[int] = []
    for code, piece in zip(items.codes.tolist(), items.texts, strict=True):
        out += [ATOM + code] if code != TEXT and code in atoms else piece.encode()
    return tuple(out)


def can_reach(prefix: int, low: int, *, high: int) -> bool:
    """Whether some number of ``low`` to ``high`` is written with the digits of ``prefix`` in front."""
    return bool(completions(prefix, low, high=high))


def completions(prefix: int, low: int, *, high: int) -> list[int]:
    """Per number of digits, the smallest number of ``low`` to ``high`` that begins with ``prefix`` (-1: any)."""
    if prefix == 0:
        return [0] if low <= 0 <= high else []
    found = []
    if prefix < 0:
        starts = [(0, 9), *((10**k, 10 ** (k + 1) - 1) for k in range(1, len(str(high))))]
    else:
        starts = [(prefix * 10**k, (prefix + 1) * 10**k - 1) for k in range(len(str(high)))]
    for first, last in starts:
        value = max(first, low)
        if value <= min(last, high):
            found.append(value)
    return found
