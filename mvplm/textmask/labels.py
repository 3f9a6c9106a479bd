"""Labels inside an answer: one canonical form, reserved characters escaped, and the way back."""

import re
import unicodedata
from collections.abc import Sequence

OTHERS = "others"
"""The label of background."""
_RESERVED = re.compile(r"[|*<>]|%(?=[0-9A-Fa-f]{2})")
_CODE = re.compile(r"%([0-9A-Fa-f]{2})")
_COMPATIBLE = str.maketrans({"|": "/", "*": "x", "<": None, ">": None})


def canonical(label: str) -> str:
    """NFC, every run of white space one space, none at the ends.

    Raises:
        ValueError: nothing is left.
    """
    text = " ".join(unicodedata.normalize("NFC", label).split())
    if not text:
        raise ValueError(f"a label must not be empty, got {label!r}")
    return text


def escape(label: str) -> str:
    """The label as an answer writes it: no separator, count or tag can be read into it; never ``others``."""
    text = _RESERVED.sub(lambda found: f"%{ord(found[0]):02X}", label)
    return f"%{ord(text[0]):02X}{text[1:]}" if is_others(text) else text


def unescape(text: str) -> str:
    """The label that :func:`escape` wrote."""
    return _CODE.sub(lambda found: chr(int(found[1], 16)), text)


def compatible(label: str) -> str:
    """The label in the spelling of released answers: reserved characters replaced or removed, not escaped."""
    return label.translate(_COMPATIBLE)


def is_others(text: str) -> bool:
    """Whether a written label means background."""
    return text.casefold() == OTHERS


def resolve(label: str, candidates: Sequence[str]) -> str | None:
    """The candidate that is meant, or None.

    Exact, then case-folded, then NFKC without punctuation, then the only one within an edit distance of a fifth of
    its length (at least 1).
    """
    if label in candidates:
        return label
    for form in (str.casefold, _plain):
        same = [candidate for candidate in candidates if form(candidate) == form(label)]
        if same:
            return same[0]
    text = _plain(label)
    close = [c for c in candidates if _distance(text, _plain(c), most=max(1, len(c) // 5)) is not None]
    return close[0] if len(close) == 1 else None


def _plain(label: str) -> str:
    text = unicodedata.normalize("NFKC", label).casefold()
    kept = "".join(" " if unicodedata.category(letter)[0] == "P" else letter for letter in text)
    return " ".join(kept.split())


def _distance(first: str, second: str, *, most: int) -> int | None:
    """Levenshtein distance, or None above ``most``."""
    if abs(len(first) - len(second)) > most:
        return None
    row = list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(second, 1):
            above, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, above + (letter != other))
        if min(row) > most:
            return None
    return row[-1] if row[-1] <= most else None
