"""The grain of the schema: a setting with its choices and range, and a section that checks its settings when built."""

from collections.abc import Sequence
from dataclasses import Field, dataclass, field, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any

Scalar = str | int | float | bool


def setting(
    default: Any,
    *,
    choices: Sequence[Scalar] | None = None,
    low: float | None = None,
    high: float | None = None,
    length: int | None = None,
) -> Any:
    """A dataclass field with what its value may be.

    Args:
        default: the value when nothing is said; lists and mappings are copied for every instance.
        choices: the only values allowed.
        low: smallest number allowed (for lists: of every entry).
        high: largest number allowed (for lists: of every entry).
        length: number of entries a list must have.
    """
    known = {"choices": choices, "low": low, "high": high, "length": length}
    metadata = {name: value for name, value in known.items() if value is not None}
    if isinstance(default, list):
        return field(default_factory=lambda: list(default), metadata=metadata)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Section:
    """A group of settings. Building one checks every value.

    Raises:
        ValueError: values outside their choices or ranges, all of them in one message.
    """

    def __post_init__(self) -> None:
        found = [problem for spec in fields(self) if (problem := value_problem(spec, getattr(self, spec.name)))]
        if found:
            raise ValueError(f"{type(self).__name__}: " + "; ".join(found))


def value_problem(spec: "Field[Any]", value: Any) -> str | None:
    """What is wrong with ``value`` for the setting ``spec``, in one sentence, or None."""
    rules = spec.metadata
    if value is None:
        return None
    if "choices" in rules and value not in rules["choices"]:
        return f"{spec.name} must be one of {_listed(rules['choices'])}, got {value!r}{near(value, rules['choices'])}"
    if "length" in rules and len(value) != rules["length"]:
        return f"{spec.name} needs {rules['length']} entries, got {len(value)}"
    for number in value if isinstance(value, (list, tuple)) else (value,):
        if not isinstance(number, (int, float)):
            continue
        if not isfinite(number):
            return f"{spec.name} must be finite, got {value}"
        if "low" in rules and number < rules["low"]:
            return f"{spec.name} must be at least {rules['low']:g}, got {value}"
        if "high" in rules and number > rules["high"]:
            return f"{spec.name} must be at most {rules['high']:g}, got {value}"
    return None


def near(word: Any, choices: Sequence[Scalar]) -> str:
    """``" (did you mean 'x'?)"`` for the closest choices of a word, or nothing when none is close."""
    close = get_close_matches(str(word), [str(choice) for choice in choices], n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(match) for match in close)}?)" if close else ""


def _listed(choices: Sequence[Scalar]) -> str:
    return ", ".join(str(choice) for choice in choices)
