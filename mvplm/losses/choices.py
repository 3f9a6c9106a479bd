"""Named alternatives of the criterion, and the check that answers a wrong name with the nearest ones."""

from collections.abc import Sequence
from difflib import get_close_matches

CLASSIFIERS = ("softmax_ce", "sigmoid_focal")
SPLITS = ("partition", "cost_1e4")


def check_choice(option: str, value: str, *, choices: Sequence[str]) -> str:
    """``value`` when it is one of ``choices``.

    Raises:
        ValueError: it is not; the message lists the choices, near matches first.
    """
    if value in choices:
        return value
    near = get_close_matches(value, choices)
    ordered = [*near, *(choice for choice in choices if choice not in near)]
    raise ValueError(f"unknown {option} {value!r}; choose one of {', '.join(ordered)}")
