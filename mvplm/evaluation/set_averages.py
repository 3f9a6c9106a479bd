"""Numbers over several data sets of one collection, such as ODinW's average over its sets."""

from collections.abc import Mapping
from statistics import fmean, median

_ENDING = "/box_AP"


def set_averages(metrics: Mapping[str, float]) -> dict[str, float]:
    """Average box AP over sets whose keys share a first part: ``odinw/Aquarium/box_AP``, ``odinw/Pistols/box_AP`` ...

    Returns:
        For each first part of keys of two or more slashes ``odinw/average_AP``, ``odinw/median_AP`` in percent, and
        ``odinw/sets``, how many there are; empty where no key has them.
    """
    groups: dict[str, list[float]] = {}
    for key, value in metrics.items():
        prefix, ending = key[: -len(_ENDING)], key[-len(_ENDING) :]
        if ending == _ENDING and "/" in prefix:
            groups.setdefault(prefix.split("/", 1)[0], []).append(value)
    out: dict[str, float] = {}
    for group, values in groups.items():
        out |= {
            f"{group}/average_AP": fmean(values),
            f"{group}/median_AP": median(values),
            f"{group}/sets": len(values),
        }
    return out
