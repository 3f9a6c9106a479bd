"""The end of an evaluation: one JSON file that can be compared with others, and one table to read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvplm.structures.versions import library_versions


def write_metrics(
    path: str | Path, metrics: Mapping[str, float], *, protocol: Mapping[str, Any], data: Mapping[str, Any]
) -> Path:
    """Write ``{"metrics", "protocol", "data", "versions"}`` as JSON; metrics are percent, rounded to 4 places.

    Args:
        path: file to write; its folder is made.
        metrics: name -> percent.
        protocol: how it was measured (tasks, thresholds, splits, weights, seed).
        data: what it was measured on (names, hashes, counts).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "metrics": {name: round(float(value), 4) for name, value in sorted(metrics.items())},
        "protocol": dict(protocol),
        "data": dict(data),
        "versions": library_versions(),
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def metrics_table(metrics: Mapping[str, float], *, title: str = "Results") -> Any:
    """A Rich table of metrics, one row per name, grouped by the part before the last slash."""
    from rich.table import Table

    table = Table(title=title)
    table.add_column("what")
    table.add_column("metric")
    table.add_column("%", justify="right")
    previous = None
    for name, value in sorted(metrics.items()):
        group, _, metric = name.rpartition("/")
        if previous is not None and group != previous:
            table.add_section()
        table.add_row(group if group != previous else "", metric, f"{value:.2f}")
        previous = group
    return table
