"""What all benchmarks share: interleaved timing, rows with a bar to reach, table, JSON and plot."""

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        name: what was measured. value: the number, None when not measured. unit: "s", "x", "MiB" ...
        bar: what it should reach, ">= 15" or "<= 0.5"; empty when there is nothing to reach.
        detail: how it was measured.
    """

    name: str
    value: float | None
    unit: str
    bar: str = ""
    detail: str = ""

    @property
    def ok(self) -> bool | None:
        """Whether the bar is reached; None without a bar or a value.

        Raises:
            ValueError: for a bar that is not ">= number" or "<= number".
        """
        if not self.bar:
            return None
        sign, _, number = self.bar.partition(" ")
        if sign not in (">=", "<="):
            raise ValueError(f"a bar must be '>= number' or '<= number', got {self.bar!r}")
        if self.value is None:
            return None
        return self.value >= float(number) if sign == ">=" else self.value <= float(number)

    def to_dict(self) -> dict[str, object]:
        """``{name, value, unit, bar, ok, detail}``."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "bar": self.bar,
            "ok": self.ok,
            "detail": self.detail,
        }


def interleave(
    contenders: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmups: int = 1,
    pick: Callable[[list[float]], float] = statistics.median,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each contender by name, or what ``pick`` makes of them: ``min`` on a core that others share.
    ``clock`` tells seconds: ``time.process_time`` those of the processor alone.

    They take turns, so that whatever else the machine does meets all of them. The first ``warmups`` rounds do not
    count: compilers and caches get ready there.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(warmups + repeats):
        for name, run in contenders.items():
            started = clock()
            run()
            if turn >= warmups:
                seconds[name].append(clock() - started)
    return {name: pick(times) for name, times in seconds.items()}


def print_rows(rows: Sequence[Row], *, title: str) -> None:
    """A table in the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "value", "bar", "reached", "how", title=title)
    for row in rows:
        value = "not measured" if row.value is None else f"{row.value:.4g} {row.unit}"
        table.add_row(row.name, value, row.bar, {True: "yes", False: "no", None: ""}[row.ok], row.detail)
    Console().print(table)


def write_rows(rows: Sequence[Row], file: Path) -> None:
    """A JSON list of the rows."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([row.to_dict() for row in rows], indent=1) + "\n", encoding="utf-8")


def plot_rows(rows: Sequence[Row], file: Path, *, title: str) -> None:
    """A picture with one panel of bars per unit."""
    from matplotlib.figure import Figure

    measured = [row for row in rows if row.value is not None]
    units = list(dict.fromkeys(row.unit for row in measured))
    figure = Figure(figsize=(9, 1 + 0.4 * len(measured) + 0.6 * len(units)), layout="constrained")
    figure.suptitle(title)
    for panel, unit in zip(figure.subplots(max(1, len(units)), squeeze=False)[:, 0], units, strict=False):
        chosen = [row for row in measured if row.unit == unit][::-1]
        bars = panel.barh([row.name for row in chosen], [row.value for row in chosen])
        panel.bar_label(bars, fmt="%.3g", padding=2)
        panel.margins(x=0.12)
        panel.set_xlabel(unit)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
