"""Charts of an analysis as PNG files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.visualize.palette import colour_of

_LONGEST = 24
"""Letters of a name that are shown."""


def heat_map(path: str | Path, table: np.ndarray, *, names: tuple[Sequence[str], Sequence[str]]) -> Path:
    """A table (R, C) as colours with its values in them where there are few.

    Args:
        path: PNG to write. table: values. names: of the R rows and of the C columns.
    """
    rows, columns = table.shape
    figure, axes = _figure(max(4.0, 0.42 * columns + 2.5), max(3.0, 0.36 * rows + 1.8))
    axes.imshow(table, cmap="Blues", aspect="auto", vmin=0, vmax=max(float(table.max(initial=0)), 1e-9))
    axes.set_xticks(range(columns), _short(names[1]), rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(rows), _short(names[0]), fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if table.size <= 400:
        half = table.max(initial=0) / 2
        for row, column in np.argwhere(table > 0):
            value = table[row, column]
            colour = "white" if value > half else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=colour)
    return _saved(figure, path)


def line_chart(
    path: str | Path,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    labels: tuple[str, str],
    diagonal: bool = False,
) -> Path:
    """Lines over the unit square.

    Args:
        path: PNG to write. lines: name -> x and y. labels: of the axes. diagonal: also draw x = y.
    """
    figure, axes = _figure(6.4, 5.0)
    if diagonal:
        axes.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    for number, (name, (x, y)) in enumerate(lines.items()):
        axes.plot(x, y, label=_literal(name), color=_rgb(number), marker="o" if len(x) <= 12 else None, linewidth=1.5)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    if len(lines) > 1:
        axes.legend(fontsize=8, loc="lower left")
    return _saved(figure, path)


def bar_chart(path: str | Path, values: Mapping[str, float], *, label: str) -> Path:
    """Horizontal bars, the first at the top.

    Args:
        path: PNG to write. values: name -> percent. label: of the axis.
    """
    figure, axes = _figure(7.0, max(2.0, 0.22 * len(values) + 1.0))
    places = range(len(values))
    axes.barh(places, list(values.values()), color=_rgb(0))
    axes.set_yticks(places, _short(list(values)), fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel=label)
    axes.grid(axis="x", alpha=0.3)
    return _saved(figure, path)


def scatter_chart(
    path: str | Path, groups: Mapping[str, tuple[np.ndarray, np.ndarray]], *, labels: Sequence[str]
) -> Path:
    """Points of several groups over the unit square.

    Args:
        path: PNG to write. groups: name -> x and y. labels: of the two axes.
    """
    figure, axes = _figure(6.4, 5.0)
    for number, (name, (x, y)) in enumerate(groups.items()):
        axes.scatter(x, y, s=6, alpha=0.4, color=_rgb(number), label=_literal(name), linewidths=0)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel=labels[0], ylabel=labels[1])
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return _saved(figure, path)


def trade_chart(
    path: str | Path, panels: Mapping[str, Mapping[str, tuple[float, float]]], *, labels: Sequence[str]
) -> Path:
    """What is paid against what is got: a panel for each group, a named point for each choice, cost on a log scale.

    Args:
        path: PNG to write. panels: title -> name -> x (above 0) and y. labels: of the two axes.
    """
    figure, first = _figure(7.5, 2.6 * len(panels) + 0.4)
    first.remove()
    names = list(dict.fromkeys(name for points in panels.values() for name in points))
    for (title, points), axes in zip(panels.items(), figure.subplots(len(panels), squeeze=False)[:, 0], strict=True):
        for name, (x, y) in points.items():
            axes.scatter(x, y, s=28, color=_rgb(names.index(name)), label=_literal(name))
        axes.set(xscale="log", ylabel=labels[1])
        axes.set_title(_literal(title), fontsize=9)
        axes.margins(x=0.1, y=0.2)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    axes.set_xlabel(labels[0])
    return _saved(figure, path)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _saved(figure: Any, path: str | Path) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def _rgb(number: int) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in colour_of(number))


def _short(names: Sequence[str]) -> list[str]:
    return [_literal(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…") for name in names]


def _literal(name: str) -> str:
    """A name as it is: dollar signs begin no formula."""
    return name.replace("$", r"\$")
