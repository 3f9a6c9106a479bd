"""Masks as text by plain loops over cells: the reference that the vectorised codecs are compared with."""

from fractions import Fraction


def bricks_of(mask, box):
    """Codes of the cells of a box: 0 to 62 foreground, 63 to 125 background, 126 between rows."""
    x1, y1, x2, y2 = box
    codes = []
    for y in range(y1, y2):
        if y > y1:
            codes.append(126)
        colour, run = None, 0
        for x in range(x1, x2):
            cell = mask[y][x]
            if run and cell == colour and run < 63:
                run += 1
                continue
            if run:
                codes.append(run - 1 if colour else run + 62)
            colour, run = cell, 1
        codes.append(run - 1 if colour else run + 62)
    return codes


def box_of(mask):
    """Half-open box of the set cells."""
    xs, ys = [], []
    for y, row in enumerate(mask):
        for x, cell in enumerate(row):
            if cell:
                xs.append(x)
                ys.append(y)
    return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def paint(codes, box, grid):
    """Write the cells of bricks into ``grid``, one by one."""
    x1, y, _, _ = box
    x = x1
    for code in codes:
        if code == 126:
            y, x = y + 1, x1
            continue
        colour = code < 63
        for _ in range(code + 1 if colour else code - 62):
            grid[y][x] = colour
            x += 1
    return grid


def rows_of_labels(classes, names, *, rows):
    """Runs of labels over the raster, or inside rows."""
    height, width = len(classes), len(classes[0])
    text, colour, run = "", None, 0
    for y in range(height):
        for x in range(width):
            cell = classes[y][x]
            if run and cell == colour and not (rows and x == 0):
                run += 1
                continue
            if run:
                text += f"{names[colour]} *{run}" + ("\n " if rows and x == 0 else "| ")
            colour, run = cell, 1
    return text + f"{names[colour]} *{run}" + ("\n" if rows else "")


def labels_of_rows(text, names, grid):
    """Write the classes of row-wise text into ``grid``, cell by cell."""
    for y, line in enumerate(text.strip().split("\n")):
        x = 0
        for run in line.strip().split("|"):
            label, _, count = run.strip().rpartition(" *")
            for _ in range(int(count)):
                grid[y][x] = names.index(label)
                x += 1
    return grid


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
