"""Masks and grids of cells: area coverage on the way down, bilinear or nearest on the way up.

Edges of cells need not fall on edges of pixels. Everything is a fraction with one known denominator, so that sums are
sums of integers and a value of exactly one half is one half on every machine.

Letters: B masks, H x W pixels, h x w cells.
"""

from dataclasses import dataclass

import numpy as np

from mvplm.config.base import near

DOWN = ("area_keep", "nearest")
UP = ("auto", "bilinear", "nearest")
_NARROW = 3
_EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class Axis:
    """Cells stretched over ``[start / unit, (start + extent) / unit)`` of a side of ``pixels`` pixels.

    Attributes:
        pixels: length of the side. cells: how many cells. start, extent, unit: integers.
    """

    pixels: int
    cells: int
    start: int
    extent: int
    unit: int = 1

    @classmethod
    def whole(cls, pixels: int, cells: int) -> "Axis":
        """Cells over the whole side."""
        return cls(pixels, cells, 0, pixels)

    @property
    def identity(self) -> bool:
        """Whether every cell is one pixel."""
        return self.pixels == self.cells and (self.start, self.extent) == (0, self.pixels * self.unit)

    def edges(self) -> np.ndarray:
        """(cells + 1,) edges of the cells, in pixels times ``unit * cells``."""
        return self.start * self.cells + np.arange(self.cells + 1, dtype=np.int64) * self.extent

    def touched(self) -> slice:
        """The pixels of which some part lies in the interval."""
        return slice(self.start // self.unit, -(-(self.start + self.extent) // self.unit))

    def overlaps(self) -> np.ndarray:
        """(cells, touched pixels) float64, how much of every cell lies in a pixel, in pixels times ``unit * cells``."""
        touched = self.touched()
        borders = np.arange(touched.start, touched.stop + 1, dtype=np.int64) * (self.unit * self.cells)
        edges = self.edges()
        return np.diff(np.clip(borders, edges[:-1, None], edges[1:, None]), axis=1).astype(np.float64)

    def inside(self) -> slice:
        """The pixels whose centre lies in the interval."""
        first = -((self.unit - 2 * self.start) // (2 * self.unit))
        end = -((self.unit - 2 * (self.start + self.extent)) // (2 * self.unit))
        return slice(max(0, first), min(self.pixels, end))

    def _centres(self) -> np.ndarray:
        """Places of the pixels inside, in cells times ``2 * extent``."""
        inside = self.inside()
        pixel = np.arange(inside.start, inside.stop, dtype=np.int64)
        return self.cells * ((2 * pixel + 1) * self.unit - 2 * self.start)

    def nearest(self) -> np.ndarray:
        """The cell of every pixel inside."""
        return np.minimum(self._centres() // (2 * self.extent), self.cells - 1)

    def weights(self, dtype: type = np.float64) -> np.ndarray:
        """(pixels inside, cells) weights of linear interpolation between centres of cells, times ``2 * extent``."""
        whole = 2 * self.extent
        place = np.clip(self._centres() - self.extent, 0, (self.cells - 1) * whole)
        cell, rest = np.divmod(place, whole)
        weights: np.ndarray = np.zeros((len(place), self.cells), dtype)
        row = np.arange(len(place))
        weights[row, cell] = whole - rest
        weights[row, np.minimum(cell + 1, self.cells - 1)] += rest
        return weights


def check_way(what: str, value: str, *, choices: tuple[str, ...]) -> str:
    """``value`` when it is one of ``choices``.

    Raises:
        ValueError: it is not; the message lists them.
    """
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}{near(value, choices)} (choices: {', '.join(choices)})")
    return value


def coverage(masks: np.ndarray, rows: Axis, *, columns: Axis) -> np.ndarray:
    """Covered area of every cell, int64 (B, h, w); ``rows.extent * columns.extent`` is a full cell.

    Args:
        masks: (B, H, W) bool. rows, columns: where the cells lie.
    """
    window = masks[:, rows.touched(), columns.touched()].astype(np.float64)
    # Whole numbers far below 2 to the 53: the products are exact.
    areas: np.ndarray = rows.overlaps() @ window @ columns.overlaps().T
    return areas.astype(np.int64)


def keep_largest(grids: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Grids (B, h, w) with a cell set in those that are empty although the area (B, h, w) is not: the fullest one."""
    kept = grids.copy()
    for index in np.flatnonzero(~grids.any((1, 2)) & areas.any((1, 2))):
        kept[index].flat[areas[index].argmax()] = True
    return kept


def to_cells(masks: np.ndarray, shape: tuple[int, int], *, down: str = "area_keep") -> np.ndarray:
    """Grids bool (B, h, w) of masks bool (B, H, W) over the whole picture.

    Args:
        masks: (B, H, W) bool. shape: (h, w).
        down: ``area_keep``: a cell is set when at least half of it is covered, and the fullest cell when none is;
            ``nearest``: the pixel under the centre of the cell decides.

    Raises:
        ValueError: an unknown ``down``.
    """
    check_way("way down", down, choices=DOWN)
    rows, columns = Axis.whole(masks.shape[1], shape[0]), Axis.whole(masks.shape[2], shape[1])
    if rows.identity and columns.identity:
        return masks.copy()
    if down == "nearest":
        return masks[:, _under(rows)[:, None], _under(columns)]
    return window_cells(masks, rows, columns=columns)


def window_cells(masks: np.ndarray, rows: Axis, *, columns: Axis) -> np.ndarray:
    """Grids bool (B, h, w) by area, of cells anywhere in the picture; the fullest cell is kept."""
    areas = coverage(masks, rows, columns=columns)
    return keep_largest(2 * areas >= rows.extent * columns.extent, areas)


def _under(axis: Axis) -> np.ndarray:
    """The pixel under the centre of every cell of a whole side."""
    return (2 * np.arange(axis.cells, dtype=np.int64) + 1) * axis.pixels // (2 * axis.cells)


def to_pixels(grids: np.ndarray, size: tuple[int, int], *, up: str = "auto") -> np.ndarray:
    """Masks bool (B, H, W) of grids bool (B, h, w) over the whole picture.

    Args:
        grids: (B, h, w) bool. size: (H, W).
        up: ``bilinear``: interpolated between centres of cells, set from one half on; ``nearest``: the cell under the
            pixel's centre; ``auto``: nearest where the set cells span less than 3 rows or columns, else bilinear.

    Raises:
        ValueError: an unknown ``up``.
    """
    check_way("way up", up, choices=UP)
    rows, columns = Axis.whole(size[0], grids.shape[1]), Axis.whole(size[1], grids.shape[2])
    if rows.identity and columns.identity:
        return grids.copy()
    smooth = np.full(len(grids), up == "bilinear") if up != "auto" else ~_is_narrow(grids)
    masks = np.empty((len(grids), *size), bool)
    masks[~smooth] = grids[~smooth][:, rows.nearest()[:, None], columns.nearest()]
    for index in np.flatnonzero(smooth):
        masks[index] = interpolate(grids[index], rows, columns=columns) >= 2 * rows.extent * columns.extent
    return masks


def interpolate(grid: np.ndarray, rows: Axis, *, columns: Axis) -> np.ndarray:
    """Values of the pixels inside, interpolated between centres of cells (h, w); ``4 * extents`` stands for 1."""
    dtype = np.float32 if 4 * rows.extent * columns.extent < _EXACT_FLOAT32 else np.float64
    return rows.weights(dtype) @ grid.astype(dtype) @ columns.weights(dtype).T


def _is_narrow(grids: np.ndarray) -> np.ndarray:
    """(B,) whether the set cells span less than three rows or columns."""
    return (_span(np.any(grids, 2)) < _NARROW) | (_span(np.any(grids, 1)) < _NARROW)


def _span(used: np.ndarray) -> np.ndarray:
    """Cells from the first to the last used one of (B, n), at most n."""
    return used.shape[1] - used[:, ::-1].argmax(1) - used.argmax(1)


def window_pixels(grid: np.ndarray, rows: Axis, *, columns: Axis) -> np.ndarray:
    """Mask bool (H, W) of a grid (h, w) anywhere in the picture, interpolated; pixels outside are not set."""
    mask = np.zeros((rows.pixels, columns.pixels), bool)
    values = interpolate(grid, rows, columns=columns)
    mask[rows.inside(), columns.inside()] = values >= 2 * rows.extent * columns.extent
    return mask


def to_class_cells(masks: np.ndarray, shape: tuple[int, int], *, down: str = "area_keep") -> np.ndarray:
    """Class of every cell, int64 (h, w): the class with the largest area, the smaller one on ties, -1 for none.

    Args:
        masks: (B, H, W) bool, class 0 to B - 1; no pixel belongs to two. shape, down: as for :func:`to_cells`.
    """
    grids = to_cells(masks, shape, down=down)
    if down == "nearest" or masks.shape[1:] == tuple(shape) or not len(masks):
        return np.where(grids.any(0), grids.argmax(0), -1) if len(masks) else np.full(shape, -1)
    rows, columns = Axis.whole(masks.shape[1], shape[0]), Axis.whole(masks.shape[2], shape[1])
    areas = coverage(masks, rows, columns=columns)
    rest = rows.extent * columns.extent - areas.sum(0)
    classes = np.concatenate([areas, rest[None]]).argmax(0)
    classes[classes == len(masks)] = -1
    flat = areas.reshape(len(areas), -1)
    for index in range(len(masks)):
        if flat[index].any() and not (classes == index).any():
            classes.flat[flat[index].argmax()] = index
    return classes


def to_class_pixels(classes: np.ndarray, size: tuple[int, int], *, count: int, up: str = "auto") -> np.ndarray:
    """Masks bool (count, H, W) of cells with classes (h, w), -1 for none; interpolated per class, the largest wins."""
    check_way("way up", up, choices=UP)
    if classes.shape == tuple(size) or not count:
        return np.broadcast_to(classes if count else -1, size) == np.arange(count)[:, None, None]
    rows, columns = Axis.whole(size[0], classes.shape[0]), Axis.whole(size[1], classes.shape[1])
    if up == "auto":
        up = "nearest" if _is_narrow((classes >= 0)[None])[0] else "bilinear"
    if up == "nearest":
        near_by = classes[rows.nearest()[:, None], columns.nearest()]
        return near_by == np.arange(count)[:, None, None]
    best = interpolate(classes < 0, rows, columns=columns)
    winner = np.full(size, -1)
    # From the last class to the first, "others" before them: the smaller class takes a tie.
    for index in range(count)[::-1]:
        values = interpolate(classes == index, rows, columns=columns)
        better = values >= best
        winner[better] = index
        np.maximum(best, values, out=best)
    return winner == np.arange(count)[:, None, None]
