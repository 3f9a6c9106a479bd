"""Bricks: rows of a box as runs of one colour, ``<fg1>`` to ``<fg63>`` and ``<bg1>`` to ``<bg63>``.

A brick is a code: 0 to 62 for foreground of length 1 to 63, 63 to 125 for background, 126 for the break between rows.
Codes become text or token ids by one look-up. Runs never cross rows; one of more than 63 cells is written as bricks
of 63 and the rest.

Letters: B instances, h x w cells of the grid, K codes of all instances together.
"""

from dataclasses import dataclass

import numpy as np

from mvplm.textmask.errors import CodecError
from mvplm.textmask.runs import fill, find_runs

LONGEST = 63
ROW_BREAK = 2 * LONGEST
BRICKS = tuple(f"<{colour}{length}>" for colour in ("fg", "bg") for length in range(1, LONGEST + 1))
"""Spelling of the codes 0 to 125."""
LENGTH = np.array([*range(1, LONGEST + 1)] * 2 + [0])
"""(127,) cells of every code."""
IS_FOREGROUND = np.arange(ROW_BREAK + 1) < LONGEST
"""(127,) colour of every code."""


@dataclass(frozen=True)
class Bricks:
    """Codes of B instances, one after the other.

    Attributes:
        codes: (K,) int32. offsets: (B + 1,) int64, where each instance begins.
    """

    codes: np.ndarray
    offsets: np.ndarray

    def of(self, index: int) -> np.ndarray:
        """The codes of one instance."""
        return self.codes[self.offsets[index] : self.offsets[index + 1]]


def encode_bricks(grids: np.ndarray, boxes: np.ndarray, *, row_breaks: bool = True) -> Bricks:
    """Codes of the cells inside the boxes.

    Args:
        grids: (B, h, w) bool. boxes: (B, 4) half-open, in cells; what lies outside is not written.
        row_breaks: a code 126 between the rows of an instance.
    """
    runs = find_runs(grids, boxes).split(LONGEST)
    codes = np.where(runs.values, runs.lengths - 1, runs.lengths + (LONGEST - 1))
    if not row_breaks or not len(codes):
        return Bricks(codes.astype(np.int32), runs.offsets)
    broken = runs.new_row.copy()
    broken[runs.offsets[:-1]] = False
    place = broken.cumsum()
    place += np.arange(len(codes))
    out = np.full(place[-1] + 1, ROW_BREAK, np.int32)
    out[place] = codes
    offsets = np.full(len(runs.offsets), len(out))
    offsets[:-1] = place[runs.offsets[:-1]]
    return Bricks(out, offsets)


def decode_bricks(bricks: Bricks, boxes: np.ndarray, *, shape: tuple[int, int], row_breaks: bool = True) -> np.ndarray:
    """Grids bool (B, h, w) of bricks that fill their boxes (B, 4) exactly, row by row.

    Raises:
        CodecError: an instance whose bricks do not fill its box, cross a row, or are broken elsewhere than after rows.
    """
    codes, offsets = bricks.codes, bricks.offsets
    lengths = LENGTH[codes]
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    filled = np.zeros(len(codes) + 1, np.int64)
    end = lengths.cumsum(out=filled[1:])
    before = filled[offsets]
    wrong = before[1:] - before[:-1] != width * height
    where = (codes == ROW_BREAK).nonzero()[0]
    owner = offsets.searchsorted(where, side="right") - 1
    first = owner.searchsorted(np.arange(len(boxes) + 1))
    if row_breaks:
        # Breaks after every width of cells, and no others: then no brick crosses a row.
        wrong |= first[1:] - first[:-1] != height - 1
        expected = (np.arange(1, len(where) + 1) - first[owner]) * width[owner]
        wrong[owner[end[where] - before[owner] != expected]] = True
    else:
        wrong[owner] = True
        owner = np.repeat(np.arange(len(boxes)), np.diff(offsets))
        wide, inside = width[owner], end - before[owner]
        wrong[owner[(inside - lengths) // wide != (inside - 1) // wide]] = True
    if wrong.any():
        index = int(wrong.argmax())
        raise CodecError(f"instance {index}: the bricks do not fill a box of {height[index]} rows of {width[index]}")
    return fill(IS_FOREGROUND[codes].repeat(lengths), boxes, shape=shape)
