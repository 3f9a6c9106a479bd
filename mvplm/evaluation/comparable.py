"""Which results may stand in one table: those that were counted alike."""

from collections.abc import Mapping
from typing import Any

from mvplm.evaluation import protocols

_COUNTING = ("referring", "synonyms", "asked_hash")
"""Parts of a result's protocol that say how it was counted; the others say what was measured."""


def by_protocol(results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Names of results in groups that may share a table, in order of appearance.

    Args:
        results: name -> content of its metrics file.
    """
    groups: list[list[str]] = []
    for name, result in results.items():
        fitting = (group for group in groups if not any(_differences(results[other], result) for other in group))
        group = next(fitting, None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    return groups


def check_comparable(results: Mapping[str, Mapping[str, Any]]) -> None:
    """Nothing, when all results may share a table.

    A part of the protocol counts where both results have it: without expressions there is nothing to tell about them.

    Args:
        results: name -> content of its metrics file.

    Raises:
        ValueError: two of them were counted differently; the message names both and every difference.
    """
    names = list(results)
    for place, second in enumerate(names):
        for first in names[:place]:
            if found := _differences(results[first], results[second]):
                raise ValueError(
                    f"{first} and {second} were counted by different protocols and cannot share a table: "
                    f"{'; '.join(found)}. Make one table for each, or evaluate again with the same eval.res_protocol "
                    "and names.synonyms"
                )


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """``part: one / other`` for every part of the protocol that both have and that differs."""
    sides = [_counting(result) for result in (first, second)]
    shared = [part for part in sides[0] if part in sides[1]]
    return [f"{part}: {sides[0][part]!r} / {sides[1][part]!r}" for part in shared if sides[0][part] != sides[1][part]]


def _counting(result: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that say how it was counted, fields of mappings one by one."""
    protocol = dict(result.get("protocol", {}))
    known = protocol.get("res_protocol") in protocols.PRESETS
    if "referring" not in protocol and known:
        protocol["referring"] = protocols.get(protocol["res_protocol"]).as_dict()
    flat: dict[str, Any] = {}
    for part in _COUNTING:
        value = protocol.get(part)
        if isinstance(value, Mapping):
            flat |= {f"{part}.{name}": entry for name, entry in value.items()}
        elif value is not None:
            flat[part] = value
    return flat
