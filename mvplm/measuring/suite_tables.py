"""The tables of a suite: published numbers, marked with their source, and ours in the last row."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mvplm.evaluation import by_protocol
from mvplm.structures.choices import check_choice

NOT_MEASURED, NOT_GIVEN = "not measured", "-"
_FILE = Path(__file__).resolve().parents[1] / "assets" / "published.json"


@cache
def published() -> dict[str, Any]:
    """Tables of published numbers by name: title, columns (name, benchmark, metric), rows with their source, notes."""
    return dict(json.loads(_FILE.read_text(encoding="utf-8")))


def build_tables(
    names: Iterable[str], results: Mapping[str, Mapping[str, Any]], *, ours: str, limit: int = 0
) -> list[dict[str, Any]]:
    """The tables with our numbers; results that were counted differently get tables of their own.

    Args:
        names: of the tables.
        results: benchmark -> content of its metrics file.
        ours: what our row is called.
        limit: records of each set that were measured; 0: all.

    Returns:
        Tables with ``title``, ``columns``, ``rows`` (system, source, values) and ``notes``. A value is a number, or "-"
        where none was published, or "not measured".

    Raises:
        ValueError: unknown table.
    """
    tables = []
    for name in names:
        table = published()[check_choice("table", name, choices=published())]
        benchmarks = dict.fromkeys(column["benchmark"] for column in table["columns"])
        groups = by_protocol({name: results[name] for name in benchmarks if name in results}) or [[]]
        unmeasured = [name for name in benchmarks if name not in results]
        for place, group in enumerate(groups):
            shown = {*group, *([] if place else unmeasured)}
            part = {**table, "title": table["title"] + (f", part {place + 1}" if len(groups) > 1 else "")}
            measured = {name: results[name] for name in group}
            tables.append(_table(part, shown, results=measured, ours=ours, limit=limit))
    return tables


def markdown(tables: Sequence[Mapping[str, Any]]) -> str:
    """The tables as Markdown."""
    return "\n\n".join(_markdown(table) for table in tables) + "\n"


def _table(
    table: Mapping[str, Any], shown: set[str], *, results: Mapping[str, Mapping[str, Any]], ours: str, limit: int
) -> dict[str, Any]:
    places = [place for place, column in enumerate(table["columns"]) if column["benchmark"] in shown]
    columns = [table["columns"][place] for place in places]
    rows = []
    for row in table["rows"]:
        values = [row["values"][place] for place in places]
        if any(value is not None for value in values):
            shown_values = [NOT_GIVEN if value is None else value for value in values]
            rows.append({"system": row["system"], "source": row["source"], "values": shown_values})
    own = [results.get(c["benchmark"], {}).get("metrics", {}).get(c["metric"], NOT_MEASURED) for c in columns]
    rows.append({"system": ours, "source": "measured by this command", "values": own})
    notes = [*table["notes"], *_differing(table, results)]
    if limit and results:
        notes.append(f"Ours are of the first {limit} records of each set only.")
    return {"title": table["title"], "columns": [c["name"] for c in columns], "rows": rows, "notes": notes}


def _differing(table: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A note where ours were counted by another protocol than the published numbers."""
    theirs = table["protocol"].get("res_protocol")
    own = sorted({str(result["protocol"].get("res_protocol")) for result in results.values()} - {theirs})
    if theirs is None or not own:
        return []
    return [
        f"NOT THE SAME PROTOCOL: ours are counted by {', '.join(map(repr, own))}, the published ones most likely by "
        f"{theirs!r} (eval.res_protocol={theirs})."
    ]


def _markdown(table: Mapping[str, Any]) -> str:
    rows = [[row["system"], *map(_cell, row["values"])] for row in table["rows"]]
    grid = [["", *table["columns"]], *rows]
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in grid
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    sources = dict.fromkeys(f"{row['system']}: {row['source']}." for row in table["rows"])
    return "\n".join([f"## {table['title']}", "", *lines, "", *(f"* {note}" for note in (*sources, *table["notes"]))])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"
