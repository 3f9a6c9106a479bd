"""Colours for drawing: any number of them, neighbours far apart, the same index always the same colour."""

import colorsys

Colour = tuple[int, ...]

_GOLDEN_TURN = 0.61803398875


def colour_of(index: int) -> Colour:
    """RGB (0-255) of an index: hues advance by the golden turn, saturation and brightness alternate."""
    hue = (0.58 + index * _GOLDEN_TURN) % 1.0
    saturation = (0.85, 0.6, 0.95)[index % 3]
    value = (0.95, 1.0, 0.8)[(index // 3) % 3]
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value))


def readable_on(colour: Colour) -> Colour:
    """Black or white, whichever can be read on ``colour``."""
    red, green, blue = colour[:3]
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else (255, 255, 255)
