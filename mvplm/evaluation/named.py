"""Intervals under the full names of metrics, as they stand in a metrics file."""

from collections.abc import Mapping

from mvplm.evaluation.intervals import Interval, Sums, bootstrap, by_image, paired_bootstrap


def named_intervals(parts: Mapping[str, Sums], *, draws: int = 1000) -> dict[str, Interval]:
    """Full name -> interval.

    Args:
        parts: beginning of the names ("semantic", or "" where they are whole) -> metrics by image.
        draws: bootstrap samples.
    """
    found = {part: bootstrap(sums, draws=draws) for part, sums in parts.items() if len(sums.images)}
    return {_whole(part, name): value for part, values in found.items() for name, value in values.items()}


def named_differences(first: Mapping[str, Sums], second: Mapping[str, Sums]) -> dict[str, Interval]:
    """Full name -> interval of ``second - first`` in points, the same images drawn for both.

    Raises:
        ValueError: the two are about other images.
    """
    shared = [part for part in first if part in second and len(first[part].images)]
    found = {part: paired_bootstrap(first[part], second[part]) for part in shared}
    return {_whole(part, name): value for part, values in found.items() for name, value in values.items()}


def named_by_image(parts: Mapping[str, Sums], name: str) -> dict[object, float]:
    """The metric of that full name of every image by itself, in percent; empty where there is none."""
    for part, sums in parts.items():
        for own in sums.countable():
            if _whole(part, own) == name:
                return dict(by_image(sums, own))
    return {}


def _whole(part: str, name: str) -> str:
    return f"{part}/{name}" if part else name
