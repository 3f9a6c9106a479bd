"""Masks as text by plain loops over cells, one cell at a time.

Written apart from ``mvplm.textmask``: the tests compare the two, the benchmark ``textmask`` times them.
"""

from collections.abc import Sequence

import numpy as np


def bricks_of(mask: np.ndarray, box: Sequence[int]) -> list[int]:
    """Codes of the cells in a box of (h, w) bool: 0 to 62 foreground, 63 to 125 background, 126 between rows."""
    x1, y1, x2, y2 = box
    codes: list[int] = []
    for y in range(y1, y2):
        if y > y1:
            codes.append(126)
        colour, run = False, 0
        for x in range(x1, x2):
            cell = bool(mask[y, x])
            if run and cell == colour and run < 63:
                run += 1
                continue
            if run:
                codes.append(run - 1 if colour else run + 62)
            colour, run = cell, 1
        codes.append(run - 1 if colour else run + 62)
    return codes


def box_of(mask: np.ndarray) -> list[int]:
    """Half-open box ``x1 y1 x2 y2`` of the set cells of (h, w) bool."""
    xs, ys = [], []
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                xs.append(x)
                ys.append(y)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


def paint(codes: Sequence[int], box: Sequence[int], *, grid: np.ndarray) -> np.ndarray:
    """``grid`` (h, w) bool with the cells of bricks written into a box, one by one."""
    x1, y = box[0], box[1]
    x = x1
    for code in codes:
        if code == 126:
            y, x = y + 1, x1
            continue
        colour = code < 63
        for _ in range(code + 1 if colour else code - 62):
            grid[y, x] = colour
            x += 1
    return grid


def rows_of_labels(classes: np.ndarray, names: Sequence[str], *, rows: bool = True) -> str:
    """Runs of labels (h, w) inside rows, or over the whole raster."""
    pieces: list[str] = []
    colour, run = -1, 0
    for y in range(classes.shape[0]):
        for x in range(classes.shape[1]):
            cell = int(classes[y, x])
            fresh = rows and x == 0
            if pieces and cell == colour and not fresh:
                run += 1
                pieces[-1] = f"{names[colour]} *{run}"
                continue
            if pieces:
                pieces.append("\n " if fresh else "| ")
            colour, run = cell, 1
            pieces.append(f"{names[colour]} *1")
    return "".join(pieces) + ("\n" if rows else "")


def labels_of_rows(text: str, names: Sequence[str], *, grid: np.ndarray) -> np.ndarray:
    """``grid`` (h, w) int with the classes of row-wise text written into it, cell by cell."""
    for y, line in enumerate(text.strip().split("\n")):
        x = 0
        for run in line.strip().split("|"):
            label, _, count = run.strip().rpartition(" *")
            for _ in range(int(count)):
                grid[y, x] = names.index(label)
                x += 1
    return grid
