"""The end of an evaluation: one JSON file that can be compared with others, and one table to read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvplm.evaluation.intervals import Interval
from mvplm.structures.versions import library_versions


def write_metrics(
    path: str | Path,
    metrics: Mapping[str, float],
    *,
    protocol: Mapping[str, Any],
    data: Mapping[str, Any],
    intervals: Mapping[str, Interval] | None = None,
) -> Path:
    """Write ``{"metrics", "intervals", "protocol", "data", "versions"}`` as JSON; numbers are percent, rounded to 4
    places.

    Args:
        path: file to write; its folder is made.
        metrics: name -> percent.
        protocol: how it was measured (tasks, thresholds, splits, weights, seed).
        data: what it was measured on (names, hashes, counts).
        intervals: name -> interval, written as its two ends; None leaves the part out.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "metrics": {name: round(float(value), 4) for name, value in sorted(metrics.items())},
        **({} if intervals is None else {"intervals": _ends(intervals)}),
        "protocol": dict(protocol),
        "data": dict(data),
        "versions": library_versions(),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _ends(intervals: Mapping[str, Interval]) -> dict[str, list[float]]:
    return {name: [round(found.low, 4), round(found.high, 4)] for name, found in sorted(intervals.items())}


def metrics_table(
    metrics: Mapping[str, float], *, title: str = "Results", intervals: Mapping[str, Interval] | None = None
) -> Any:
    """A Rich table of metrics, one row per name, grouped by the part before the last slash.

    Args:
        metrics: name -> percent.
        title: above the table.
        intervals: of some of them, for a column "95 %"; without any there is no such column.
    """
    from rich.table import Table

    table = Table(title=title)
    table.add_column("what")
    table.add_column("metric")
    table.add_column("%", justify="right")
    if intervals:
        table.add_column("95 %", justify="right")
    previous = None
    for name, value in sorted(metrics.items()):
        group, _, metric = name.rpartition("/")
        if previous is not None and group != previous:
            table.add_section()
        ends = [_interval_text(intervals.get(name))] if intervals else []
        table.add_row(group if group != previous else "", metric, f"{value:.2f}", *ends)
        previous = group
    return table


def _interval_text(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} - {interval.high:.2f}"


def print_metrics(metrics: Mapping[str, float], intervals: Mapping[str, Interval] | None = None) -> None:
    """Print the table of them to standard output."""
    from rich.console import Console

    Console().print(metrics_table(metrics, intervals=intervals))
