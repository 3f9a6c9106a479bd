"""Synonyms: every class asked for under several names, which are told apart from the names of other classes."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvplm.structures import Vocabulary
from mvplm.structures.choices import check_choice

_LOGGER = logging.getLogger("mvplm")
_BUILTIN = "builtin:"
_FOLDER = Path(__file__).resolve().parent.parent / "assets" / "synonyms"


@dataclass(frozen=True)
class Synonyms:
    """The names asked for, and what each of them stands for.

    Attributes:
        asked: K' >= K names, those of a class together; flags are those of their classes, ids are 0 to K' - 1.
        classes: asked name -> name of its class.
    """

    asked: Vocabulary
    classes: Mapping[str, str]


def expand(whole: Vocabulary, shown: Vocabulary, *, more: Mapping[str, Sequence[str]] | None = None) -> Synonyms:
    """Every class under its own name and its synonyms.

    Synonyms are the parts between commas of a class's whole name, then those of ``more``. A name is asked for once:
    what is another class's own name is left out, and so is a synonym that several classes have, for it would not tell
    them apart. A class whose whole name is its own name (because its first part is another's) is asked for by what is
    left of its parts, or else by the whole.

    Args:
        whole: the data's vocabulary, names with all their synonyms.
        shown: the same classes under their own names, which answers carry.
        more: further synonyms by a class's own or whole name.

    Raises:
        ValueError: ``more`` holds none of the classes.
    """
    more = {_key(name): names for name, names in (more or {}).items()}
    own = [_clean(name) for name in shown.names]
    lists = []
    for full, name in zip(whole.names, own, strict=True):
        parts = [_clean(part) for part in full.split(",") if part.strip()]
        more_names = [_clean(extra) for key in dict.fromkeys((_key(full), _key(name))) for extra in more.get(key, ())]
        first = [] if len(parts) > 1 and _key(name) == _key(full) else [name]
        lists.append(_distinct([*first, *parts, *more_names]))
    _check_keys(more, [*whole.names, *own])
    taken = {_key(name) for name in own}
    holders: dict[str, int] = {}
    for names in lists:
        for name in names:
            holders[_key(name)] = holders.get(_key(name), 0) + 1
    asked: dict[str, str] = {}
    flags: list[bool] = []
    for name, names, isthing in zip(own, lists, shown.isthing, strict=True):
        kept = [n for n in names if _key(n) == _key(name) or (_key(n) not in taken and holders[_key(n)] == 1)]
        kept = kept or [name]
        asked |= dict.fromkeys(kept, name)
        flags += [isthing] * len(kept)
    return Synonyms(Vocabulary(tuple(asked), tuple(flags)), asked)


def read_synonyms(file: str | Path) -> dict[str, list[str]]:
    """Synonyms from a JSON file ``{name: [more names]}``; "builtin:NAME" is a list that comes with the package.

    Raises:
        ValueError: no such file or list, or something else in it.
    """
    if str(file).startswith(_BUILTIN):
        known = sorted(path.stem for path in _FOLDER.glob("*.json"))
        name = check_choice("built-in synonyms", str(file).removeprefix(_BUILTIN), choices=known)
        file = _FOLDER / f"{name}.json"
    try:
        content = json.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"names.synonym_file: {file} cannot be read: {error}") from error
    fitting = isinstance(content, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) and name.strip() for name in names)
        for names in content.values()
    )
    if not fitting:
        raise ValueError(f"names.synonym_file: {file} must map every name to a list of names")
    return dict(content)


def _check_keys(more: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    known = {_key(name) for name in names}
    unknown = sorted(set(more) - known)
    if unknown and len(unknown) == len(more):
        raise ValueError(f"names.synonym_file has none of the classes asked for: it has {', '.join(unknown[:5])} ...")
    if unknown:
        _LOGGER.warning("synonyms of names that are not asked for are passed over: %s", ", ".join(unknown))


def _distinct(names: Sequence[str]) -> list[str]:
    """The first of every name, whatever its case."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(_key(name), name)
    return list(found.values())


def _clean(name: str) -> str:
    """A name as prompts and answers spell it: runs of whitespace collapsed."""
    return " ".join(name.split())


def _key(name: str) -> str:
    return _clean(name).lower()
