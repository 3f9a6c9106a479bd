"""Runs of one colour inside the rows of boxes, found for many grids at once.

Letters: B grids, h x w cells, R runs of all grids together.
"""

from dataclasses import dataclass

import numpy as np

from mvplm.textmask.errors import CodecError


@dataclass(frozen=True)
class Runs:
    """Runs in reading order, grid after grid.

    Attributes:
        values: (R,) bool colour. lengths: (R,) int64 cells. new_row: (R,) bool, the first of its row.
        offsets: (B + 1,) int64, where the runs of each grid begin.
    """

    values: np.ndarray
    lengths: np.ndarray
    new_row: np.ndarray
    offsets: np.ndarray

    def split(self, longest: int) -> "Runs":
        """The same with longer runs in parts: as many of ``longest`` as fit, at least one cell for the last."""
        if not len(self.lengths) or self.lengths.max() <= longest:
            return self
        parts = (self.lengths - 1) // longest + 1
        end = np.cumsum(parts)
        lengths = np.full(end[-1], longest)
        lengths[end - 1] = self.lengths - (parts - 1) * longest
        new_row = np.zeros(end[-1], bool)
        new_row[end - parts] = self.new_row
        offsets = np.append(0, end)[self.offsets]
        return Runs(np.repeat(self.values, parts), lengths, new_row, offsets)


def tight_boxes(grids: np.ndarray) -> np.ndarray:
    """Half-open boxes int64 (B, 4), ``x1 y1 x2 y2`` in cells, around the set cells of bool (B, h, w).

    Raises:
        CodecError: an empty grid.
    """
    rows, columns = grids.any(2), grids.any(1)
    if not rows.any(1).all():
        raise CodecError(f"grid {int((~rows.any(1)).argmax())} is empty: it has no box")
    boxes = np.empty((len(grids), 4), np.int64)
    boxes[:, 0], boxes[:, 1] = columns.argmax(1), rows.argmax(1)
    boxes[:, 2] = columns.shape[1] - columns[:, ::-1].argmax(1)
    boxes[:, 3] = rows.shape[1] - rows[:, ::-1].argmax(1)
    return boxes


def window(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(B, h, w) bool, the cells inside half-open boxes (B, 4)."""
    row, column = np.arange(shape[0]), np.arange(shape[1])
    x1, y1, x2, y2 = boxes.T[:, :, None]
    return ((row >= y1) & (row < y2))[:, :, None] & ((column >= x1) & (column < x2))[:, None]


def find_runs(grids: np.ndarray, boxes: np.ndarray) -> Runs:
    """Runs in the rows of half-open boxes (B, 4) of grids bool (B, h, w)."""
    count, height, width = grids.shape
    change = np.empty(grids.shape, bool)
    np.not_equal(grids[:, :, 1:], grids[:, :, :-1], out=change[:, :, 1:])
    change[np.arange(count), :, boxes[:, 0]] = True
    change &= window(boxes, (height, width))
    start = np.flatnonzero(change)
    row = start // width
    column = start - row * width
    grid = row // height
    # A run ends where the next one starts, the last one of a row at the edge of the box.
    lengths = boxes[grid, 2] - column
    np.minimum(lengths[:-1], np.diff(start), out=lengths[:-1])
    offsets = np.searchsorted(grid, np.arange(count + 1))
    return Runs(grids.ravel()[start], lengths, column == boxes[grid, 0], offsets)


def fill(values: np.ndarray, boxes: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Grids bool (B, h, w) from the cells of all boxes (B, 4), row by row, one box after the other."""
    grids = np.zeros((len(boxes), *shape), bool)
    grids[window(boxes, shape)] = values
    return grids
