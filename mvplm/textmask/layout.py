"""Runs of an answer laid into the rows of a box: exactly where they fit, otherwise row by row with repairs counted."""

from collections import Counter
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Laid:
    """Cells of one box.

    Attributes:
        grid: (h, w) bool. repairs: what was repaired, and how often.
        canonical: the runs fill the box exactly and no colour follows itself where one run would do.
    """

    grid: np.ndarray
    repairs: dict[str, int]
    canonical: bool


@dataclass(frozen=True)
class Body:
    """What stands between ``<seg>`` and ``</seg>``.

    Attributes:
        values: (K,) bool colour. lengths: (K,) int64 cells, 0 for a row break.
    """

    values: np.ndarray
    lengths: np.ndarray


def lay(body: Body, shape: tuple[int, int], *, row_breaks: bool, longest: int | None) -> Laid:
    """Cells of a box of ``shape`` (h, w).

    Args:
        body: runs and row breaks. shape: (h, w). row_breaks: whether the format has them.
        longest: after a run of this length the same colour may go on; None: never.
    """
    if _fills(body, shape, row_breaks=row_breaks):
        same = (body.values[1:] == body.values[:-1]) & (body.lengths[1:] > 0) & (body.lengths[:-1] > 0)
        if longest is not None:
            same &= body.lengths[:-1] != longest
        if not row_breaks:
            same &= np.cumsum(body.lengths)[:-1] % shape[1] != 0
        return Laid(np.repeat(body.values, body.lengths).reshape(shape), {}, not same.any())
    return _lay_rows(body, shape, row_breaks=row_breaks)


def _fills(body: Body, shape: tuple[int, int], *, row_breaks: bool) -> bool:
    """Whether the runs fill the box and the breaks stand between its rows, and only there."""
    height, width = shape
    # An answer may claim any length: no sum may leave int64.
    if not len(body.lengths) or body.lengths.max() > width:
        return False
    end = np.cumsum(body.lengths)
    if end[-1] != height * width:
        return False
    at = end[body.lengths == 0]
    expected = np.arange(1, height if row_breaks else 1) * width
    painted = body.lengths > 0
    first, last = (end - body.lengths)[painted] // width, (end[painted] - 1) // width
    return bool(np.array_equal(at, expected) and (first == last).all())


def _lay_rows(body: Body, shape: tuple[int, int], *, row_breaks: bool) -> Laid:
    height, width = shape
    grid = np.zeros(shape, bool)
    repairs: Counter[str] = Counter()
    segments = _segments(body)
    broken = len(segments) > 1
    row = 0
    for segment in segments:
        column, rows = 0, 1
        for value, length in segment:
            if column == width:
                row, column, rows = row + 1, 0, rows + 1
            if row < height:
                grid[row, column : column + length] = value
                repairs["row_long"] += column + length > width
            over = column + length > width
            column = min(width, column + length)
            if over and broken:
                break
        repairs["row_short"] += column < width and row < height
        repairs["sep_missing"] += (rows - 1) * (broken and row_breaks)
        row += 1
    breaks = int((body.lengths == 0).sum())
    if row_breaks:
        repairs["sep_missing"] += not breaks and height > 1
    else:
        repairs["sep_unexpected"] += breaks
    repairs["rows_extra"] += max(0, row - height)
    repairs["rows_missing"] += max(0, height - row)
    return Laid(grid, {name: count for name, count in repairs.items() if count}, False)


def _segments(body: Body) -> list[list[tuple[bool, int]]]:
    """Runs between row breaks; an empty last segment does not count."""
    segments: list[list[tuple[bool, int]]] = [[]]
    for value, length in zip(body.values.tolist(), body.lengths.tolist(), strict=True):
        if length:
            segments[-1].append((value, length))
        else:
            segments.append([])
    return segments if segments[-1] or len(segments) == 1 else segments[:-1]
