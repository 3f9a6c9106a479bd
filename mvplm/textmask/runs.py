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
    rows, columns = np.logical_or.reduce(grids, axis=2), np.logical_or.reduce(grids, axis=1)
    full = np.logical_or.reduce(rows, axis=1)
    if not full.all():
        raise CodecError(f"grid {int(full.argmin())} is empty: it has no box")
    boxes = np.empty((len(grids), 4), np.int64)
    boxes[:, 0], boxes[:, 1] = columns.argmax(1), rows.argmax(1)
    boxes[:, 2] = columns.shape[1] - columns[:, ::-1].argmax(1)
    boxes[:, 3] = rows.shape[1] - rows[:, ::-1].argmax(1)
    return boxes


def find_runs(grids: np.ndarray, boxes: np.ndarray) -> Runs:
    """Runs in the rows of half-open boxes (B, 4) of grids bool (B, h, w)."""
    count, height, width = grids.shape
    change = np.zeros(grids.shape, bool)
    for grid, out, (x1, y1, x2, y2) in zip(grids, change, boxes.tolist(), strict=True):
        out[y1:y2, x1] = True
        np.not_equal(grid[y1:y2, x1 + 1 : x2], grid[y1:y2, x1 : x2 - 1], out=out[y1:y2, x1 + 1 : x2])
    start = change.ravel().nonzero()[0]
    row = start // width
    column = start - row * width
    owner = row // height
    # A run ends where the next one starts, the last one of a row at the edge of the box.
    lengths = boxes[:, 2][owner] - column
    np.minimum(lengths[:-1], start[1:] - start[:-1], out=lengths[:-1])
    offsets = owner.searchsorted(np.arange(count + 1))
    return Runs(grids.ravel()[start], lengths, column == boxes[:, 0][owner], offsets)


def fill(values: np.ndarray, boxes: np.ndarray, *, shape: tuple[int, int]) -> np.ndarray:
    """Grids bool (B, h, w) from the cells of all boxes (B, 4), row by row, one box after the other."""
    grids = np.zeros((len(boxes), *shape), bool)
    start = 0
    for grid, (x1, y1, x2, y2) in zip(grids, boxes.tolist(), strict=True):
        stop = start + (x2 - x1) * (y2 - y1)
        grid[y1:y2, x1:x2] = values[start:stop].reshape(y2 - y1, x2 - x1)
        start = stop
    return grids
