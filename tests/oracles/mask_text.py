"""Masks as text by plain loops: those of the tools, and exact fractions for the ways between pixels and cells."""

import importlib.util
from fractions import Fraction
from pathlib import Path

_FILE = Path(__file__).resolve().parents[2] / "tools" / "naive_mask_text.py"
_SPEC = importlib.util.spec_from_file_location("naive_mask_text", _FILE)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)
bricks_of, box_of, paint = _MODULE.bricks_of, _MODULE.box_of, _MODULE.paint
rows_of_labels, labels_of_rows = _MODULE.rows_of_labels, _MODULE.labels_of_rows


def area_cells(mask, height, width):
    """Cells that are at least half covered, by exact fractions; the fullest one when there is none."""
    rows, columns = len(mask), len(mask[0])
    share = [[Fraction(0)] * width for _ in range(height)]
    for y in range(rows):
        for x in range(columns):
            if not mask[y][x]:
                continue
            for i in range(height):
                high = min(Fraction((i + 1) * rows, height), y + 1) - max(Fraction(i * rows, height), y)
                for j in range(width if high > 0 else 0):
                    wide = min(Fraction((j + 1) * columns, width), x + 1) - max(Fraction(j * columns, width), x)
                    if wide > 0:
                        share[i][j] += high * wide
    whole = Fraction(rows * columns, height * width)
    cells = [[2 * part >= whole for part in row] for row in share]
    best = max(max(row) for row in share)
    if best and not any(map(any, cells)):
        i, j = next((i, j) for i in range(height) for j in range(width) if share[i][j] == best)
        cells[i][j] = True
    return cells


def pixels(grid, size, box=None):
    """Bilinear mask of a grid stretched over a box of fractions, by exact fractions."""
    height, width = size
    x1, y1, x2, y2 = box or (Fraction(0), Fraction(0), Fraction(width), Fraction(height))
    mask = [[False] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            at = Fraction(2 * x + 1, 2), Fraction(2 * y + 1, 2)
            if not (x1 <= at[0] < x2 and y1 <= at[1] < y2):
                continue
            value = Fraction(0)
            for i, a in weights((at[1] - y1) / (y2 - y1), len(grid)):
                for j, b in weights((at[0] - x1) / (x2 - x1), len(grid[0])):
                    value += a * b * bool(grid[i][j])
            mask[y][x] = value >= Fraction(1, 2)
    return mask


def weights(place, cells):
    """The two cells around a place in [0, 1), and their shares."""
    u = min(max(place * cells - Fraction(1, 2), Fraction(0)), Fraction(cells - 1))
    low = int(u)
    return [(low, 1 - (u - low)), (min(low + 1, cells - 1), u - low)]
