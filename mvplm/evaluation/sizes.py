"""Sizes of objects, as COCO tells them apart."""

SIZES = ("small", "medium", "large", "none")
"""Below 32 x 32 pixels, below 96 x 96, the rest; and no pixels at all: nothing to be found."""


def size_of(area: float) -> str:
    """One of ``SIZES`` for an area in pixels."""
    if area <= 0:
        return "none"
    return "small" if area < 32**2 else "medium" if area < 96**2 else "large"
