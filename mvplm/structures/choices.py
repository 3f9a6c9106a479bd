"""Named alternatives: a wrong name is answered with the nearest right ones."""

from collections.abc import Iterable
from difflib import get_close_matches


def near_matches(value: object, choices: Iterable[str], *, most: int = 2) -> str:
    """``"; did you mean 'x' or 'y'?"`` with at most ``most`` close choices, or nothing when none is close."""
    close = get_close_matches(str(value), list(choices), n=most)
    return f"; did you mean {' or '.join(repr(match) for match in close)}?" if close else ""


def check_choice(what: str, value: str, *, choices: Iterable[str]) -> str:
    """``value`` when it is one of ``choices``.

    Raises:
        ValueError: it is not; the message names the near matches, then all choices.
    """
    known = list(choices)
    if value in known:
        return value
    raise ValueError(f"unknown {what} {value!r}{near_matches(value, known)} (choices: {', '.join(known)})")
