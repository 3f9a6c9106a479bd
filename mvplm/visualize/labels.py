"""Placing labels so that they stay inside the picture and do not cover one another."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Rectangle:
    """A label's place in pixels: left, top, width, height."""

    left: float
    top: float
    width: float
    height: float

    def overlaps(self, other: "Rectangle") -> bool:
        """Whether the two share any area."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )


def place_label(
    size: tuple[float, float],
    box: tuple[float, float, float, float],
    *,
    canvas: tuple[int, int],
    taken: Iterable[Rectangle],
) -> Rectangle:
    """A free place for a label of ``size`` (width, height) next to ``box`` (x1, y1, x2, y2).

    Corners of the box are tried first, then rows ever further down (wrapping to the top), then a grid over the whole
    canvas (width, height), nearest cells first; when all is taken the first choice is returned.
    """
    width, height = size
    x1, y1, x2, y2 = box
    taken = list(taken)
    wanted = [
        (x1, y1 - height),
        (x1, y1),
        (x2 - width, y1 - height),
        (x1, y2),
        (x2 - width, y2),
        (x2, y1),
        ((x1 + x2 - width) / 2, (y1 + y2 - height) / 2),
    ]
    columns, rows = (int(side / max(length, 1)) for side, length in zip(canvas, size, strict=True))
    wanted += [(x1, (y1 + step * height) % max(canvas[1] - height, 1)) for step in range(1, rows)]
    cells = [(column * width, row * height) for row in range(rows) for column in range(columns)]
    wanted += sorted(cells, key=lambda cell: (cell[0] - x1) ** 2 + (cell[1] - y1) ** 2)
    first = None
    for left, top in wanted:
        spot = Rectangle(
            min(max(left, 0), max(canvas[0] - width, 0)), min(max(top, 0), max(canvas[1] - height, 0)), width, height
        )
        first = first or spot
        if not any(spot.overlaps(other) for other in taken):
            return spot
    return first or Rectangle(0, 0, width, height)
