"""``mvplm compare``: paired differences of results on the same pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mvplm.cli.guard import say

if TYPE_CHECKING:
    from mvplm.analysis import Comparison

_SURE = "excludes 0"


def compare(
    results: Annotated[
        list[Path],
        typer.Argument(help="Two or more --out folders of mvplm evaluate; the first against each.", show_default=False),
    ],
    *,
    images: Annotated[int, typer.Option(min=0, help="So many pictures of each set, those that changed most.")] = 8,
    out: Annotated[Path | None, typer.Option(help="Also write a .html or .json file.")] = None,
) -> None:
    """Print differences of all metrics that both have, with 95 % intervals over the same pictures drawn for both."""
    if out is not None and out.suffix not in (".html", ".json"):
        raise ValueError(f"--out must end in .html or .json, got {out}")
    from rich.console import Console

    from mvplm.analysis import compare_results

    found = compare_results(results, images=images)
    console = Console()
    for comparison in found:
        console.print(_rich_table("Differences", ("metric", "A", "B", "B - A", "95 %", ""), rows=_rows(comparison)))
        console.print(f"A: {comparison.names[0]}", f"B: {comparison.names[1]}", sep="\n", markup=False, emoji=False)
        if comparison.changes:
            rows = _changes(comparison)
            console.print(_rich_table("Most changed pictures", ("set", "image", "metric", "A", "B"), rows=rows))
    if out is not None:
        _write(out, found)
        say(f"Written: {out}", style="green")


def _rows(comparison: "Comparison") -> list[list[str]]:
    return [
        [
            entry.metric,
            f"{entry.first:.2f}",
            f"{entry.second:.2f}",
            f"{entry.value:+.2f}",
            "" if entry.interval is None else f"{entry.interval.low:+.2f} ... {entry.interval.high:+.2f}",
            _SURE if entry.certain else "",
        ]
        for entry in comparison.differences
    ]


def _changes(comparison: "Comparison") -> list[list[str]]:
    return [[c.set, str(c.image), c.metric, f"{c.first:.1f}", f"{c.second:.1f}"] for c in comparison.changes]


def _rich_table(title: str, columns: Sequence[str], *, rows: Sequence[Sequence[str]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right" if column in ("A", "B", "B - A", "95 %") else "left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _write(path: Path, found: Sequence["Comparison"]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        text = json.dumps([comparison.as_dict() for comparison in found], indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        return
    from mvplm.visualize import Section, Sheet, write_sections

    sections = [
        Section(
            f"A: {comparison.names[0]}, B: {comparison.names[1]}",
            sheets=(
                Sheet("Differences", ("metric", "A", "B", "B - A", "95 %", ""), _rows(comparison)),
                Sheet("Most changed pictures", ("set", "image", "metric", "A", "B"), _changes(comparison)),
            ),
        )
        for comparison in found
    ]
    lead = "Percent; differences in points. Intervals: the same pictures drawn for both."
    write_sections(path, "Comparison", lead=lead, sections=sections)


COMMANDS = {"compare": (compare, "mvplm compare outputs/first outputs/second --out outputs/comparison.html")}
