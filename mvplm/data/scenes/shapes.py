"""Shapes of things as distance fields: negative inside, in pixels, with exact arithmetic only (same on every CPU)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Field = Callable[..., np.ndarray]


@dataclass(frozen=True)
class Shape:
    """One noun.

    Attributes:
        plural: plural form of the noun.
        area: area of the shape for a circumscribed circle of radius 1.
        tilt: largest rotation in degrees, either way, under which the noun stays true.
        field: (x, y, *, radius) -> distance, arrays (h, w) float32 in pixels; y points down.
    """

    plural: str
    area: float
    tilt: float
    field: Field


def _circle(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    return np.sqrt(x * x + y * y) - radius


def _square(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - radius * 0.70710678


def _triangle(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    return np.maximum(np.abs(x) * 0.8660254 - y * 0.5, y) - radius * 0.5


def _star(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    cos, sin = 0.80901699, 0.58778525
    x, y = np.abs(x), -y
    fold = np.maximum(x * cos - y * sin, 0) * 2
    x, y = x - fold * cos, y + fold * sin
    fold = np.maximum(-x * cos - y * sin, 0) * 2
    x, y = np.abs(x + fold * cos), y + fold * sin
    inner = 0.46
    dx, dy = inner * sin, inner * cos - 1.0
    length = math.sqrt(dx * dx + dy * dy)
    return ((y - radius) * dx - x * dy) / length


def _cross(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    long, short = np.maximum(x, y), np.minimum(x, y)
    return np.maximum(long - radius * 0.953939, short - radius * 0.3)


def _ring(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    return np.abs(np.sqrt(x * x + y * y) - radius * 0.77) - radius * 0.23


def _heart(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    side = radius * 0.5257
    y = y - side * 0.1464
    x = np.abs(x)
    u, v = (x + y) * 0.70710678, (x - y) * 0.70710678
    body = np.maximum(np.abs(u), np.abs(v)) - side
    lobe_x, lobe_y = x - side * 0.70710678, y + side * 0.70710678
    return np.minimum(body, np.sqrt(lobe_x * lobe_x + lobe_y * lobe_y) - side)


def _crescent(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    outer = np.sqrt(x * x + y * y) - radius
    shifted = x - radius * 0.46
    return np.maximum(outer, radius * 0.8 - np.sqrt(shifted * shifted + y * y))


def _hexagon(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(x * 0.8660254 + y * 0.5, y) - radius * 0.8660254


def _arrow(x: np.ndarray, y: np.ndarray, *, radius: float) -> np.ndarray:
    x, y = x / radius, np.abs(y) / radius
    shaft = np.maximum(np.abs(x + 0.43) - 0.53, y - 0.24)
    head = np.maximum((y * 0.95 + (x - 1.0) * 0.7) / 1.18004, 0.05 - x)
    return np.minimum(shaft, head) * radius


SHAPES: dict[str, Shape] = {
    "circle": Shape("circles", 3.1416, 0, _circle),
    "square": Shape("squares", 2.0, 14, _square),
    "triangle": Shape("triangles", 1.297, 180, _triangle),
    "star": Shape("stars", 1.352, 36, _star),
    "cross": Shape("crosses", 1.92, 18, _cross),
    "ring": Shape("rings", 2.225, 0, _ring),
    "heart": Shape("hearts", 1.973, 28, _heart),
    "crescent": Shape("crescents", 1.466, 180, _crescent),
    "hexagon": Shape("hexagons", 2.598, 30, _hexagon),
    "arrow": Shape("arrows", 1.14, 180, _arrow),
}


@dataclass(frozen=True)
class Sprite:
    """A shape at its size and rotation, cut to its extent.

    Attributes:
        distance: (h, w) float32 pixels, negative inside.
        x, y: (h, w) float32 pixel coordinates in the rotated frame of the shape, origin at its centre.
        inside: (h, w) bool; near: (h, w) bool, inside plus a margin of two pixels.
        area: pixels of ``inside``. radius: of the circumscribed circle.
    """

    distance: np.ndarray
    x: np.ndarray
    y: np.ndarray
    inside: np.ndarray
    near: np.ndarray
    area: int
    radius: float


def radius_for(name: str, area: float) -> float:
    """Radius of the circumscribed circle for which the shape covers ``area`` pixels."""
    return math.sqrt(area / SHAPES[name].area)


def sprite(name: str, radius: float, *, angle: float, shift: tuple[float, float]) -> Sprite:
    """Rasterise a shape.

    Args:
        name: noun.
        radius: of the circumscribed circle, pixels.
        angle: rotation, degrees.
        shift: sub-pixel offset (x, y) of the centre.
    """
    half = math.ceil(radius) + 3
    axis = np.arange(-half, half + 1, dtype=np.float32)
    across, down = axis[None, :] - np.float32(shift[0]), axis[:, None] - np.float32(shift[1])
    cos, sin = (np.float32(round(f(math.radians(angle)), 6)) for f in (math.cos, math.sin))
    x, y = across * cos + down * sin, down * cos - across * sin
    distance = SHAPES[name].field(x, y, radius=round(radius, 3))
    near = distance < 2.0
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    distance = np.ascontiguousarray(distance[cut])
    inside = distance < 0
    return Sprite(distance, x[cut], y[cut], inside, near[cut], int(np.count_nonzero(inside)), radius)
