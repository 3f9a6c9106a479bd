"""Options of a data set as a person types them: ``key=value``."""

from collections.abc import Sequence
from typing import Any

from yaml import YAMLError, safe_load


def parse_options(items: Sequence[str]) -> dict[str, Any]:
    """``key=value`` items as a mapping; values are read as YAML.

    Raises:
        ValueError: an item without a key, or a value that is no YAML.
    """
    options: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"an option must have the form key=value, got {item!r}")
        try:
            options[key.strip()] = safe_load(value)
        except YAMLError as error:
            raise ValueError(f"the value of {item!r} is not valid YAML") from error
    return options
