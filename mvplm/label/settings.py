"""Settings as a person gives them: a flat YAML file and ``key=value`` items, checked against dataclasses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from mvplm.data.options import parse_options
from mvplm.structures.choices import near_matches


def read_settings(path: str | Path | None, items: Sequence[str]) -> dict[str, Any]:
    """The mapping of a YAML file, with ``key=value`` items winning over it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no YAML, no mapping, or an item that is not ``key=value``.
    """
    from yaml import YAMLError, safe_load

    given: Any = {}
    if path is not None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"settings file not found: {path}")
        try:
            given = safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except YAMLError as error:
            raise ValueError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(given, dict):
            raise ValueError(f"{path} must be a mapping of settings, got {given!r}")
    return {**given, **parse_options(items)}


def build_settings(given: Mapping[str, Any], *schemas: type) -> list[Any]:
    """One object of each dataclass, in order; every key goes to the dataclass that has a field of that name.

    Raises:
        ValueError: unknown keys and wrong types, all in one message; or what the dataclasses themselves refuse.
    """
    known = {spec.name: spec for schema in schemas for spec in fields(schema)}
    problems = list(_problems(given, known))
    if problems:
        raise ValueError("; ".join(problems))
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    return [schema(**{s.name: values[s.name] for s in fields(schema) if s.name in values}) for schema in schemas]


def _problems(given: Mapping[str, Any], known: Mapping[str, "Field[Any]"]) -> Iterator[str]:
    for key, value in given.items():
        if key not in known:
            yield f"unknown setting {key!r}{near_matches(key, known)} (settings: {', '.join(known)})"
            continue
        kind, wanted = _expected(known[key])
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not fits or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            yield f"{key} must be {wanted}, got {value!r}"


def _expected(spec: "Field[Any]") -> tuple[Any, str]:
    """Python types of a value as YAML gives it, and their name; the default tells them."""
    assert spec.default is not MISSING
    if isinstance(spec.default, bool):
        return bool, "true or false"
    if isinstance(spec.default, int) and spec.type in (int, "int"):
        return int, "a whole number"
    if isinstance(spec.default, (int, float)):
        return (int, float), "a number"
    return (list, "a list of texts") if isinstance(spec.default, tuple) else (str, "text")
