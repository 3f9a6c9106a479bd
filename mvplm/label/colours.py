"""Colours of objects, said only where they are beyond doubt.

Every colour has two ranges: pixels that anybody would call by its name, and pixels that somebody might.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

_LEAST_PIXELS = 64
_COLOURLESS = 0.06


@dataclass(frozen=True)
class _Range:
    """Hues in degrees (from above to: through red), saturations and values in [0, 1]."""

    hue: tuple[float, float] = (0, 360)
    saturation: tuple[float, float] = (0, 1)
    value: tuple[float, float] = (0, 1)

    def holds(self, hsv: np.ndarray) -> np.ndarray:
        """Which pixels (N, 3) lie in the range, bool (N,)."""
        hue, saturation, value = hsv.T
        low, high = self.hue
        inside = (hue >= low) & (hue <= high) if low <= high else (hue >= low) | (hue <= high)
        for channel, bounds in ((saturation, self.saturation), (value, self.value)):
            inside &= (channel >= bounds[0]) & (channel <= bounds[1])
        return inside


_CERTAIN: Mapping[str, _Range] = {
    "red": _Range((345, 10), (0.5, 1), (0.35, 1)),
    "orange": _Range((20, 38), (0.6, 1), (0.6, 1)),
    "yellow": _Range((48, 65), (0.5, 1), (0.6, 1)),
    "green": _Range((85, 150), (0.35, 1), (0.2, 1)),
    "blue": _Range((205, 250), (0.4, 1), (0.25, 1)),
    "purple": _Range((265, 300), (0.35, 1), (0.25, 1)),
    "pink": _Range((310, 340), (0.25, 1), (0.6, 1)),
    "brown": _Range((12, 35), (0.4, 1), (0.2, 0.5)),
    "white": _Range(saturation=(0, 0.12), value=(0.85, 1)),
    "gray": _Range(saturation=(0, 0.1), value=(0.3, 0.65)),
    "black": _Range(value=(0, 0.16)),
}
_POSSIBLE: Mapping[str, _Range] = {
    "red": _Range((325, 22), (0.25, 1), (0.15, 1)),
    "orange": _Range((8, 50), (0.3, 1), (0.35, 1)),
    "yellow": _Range((38, 80), (0.25, 1), (0.4, 1)),
    "green": _Range((65, 180), (0.15, 1), (0.1, 1)),
    "blue": _Range((165, 265), (0.15, 1), (0.12, 1)),
    "purple": _Range((245, 330), (0.15, 1), (0.12, 1)),
    "pink": _Range((285, 20), (0.1, 1), (0.4, 1)),
    "brown": _Range((5, 50), (0.2, 1), (0.1, 0.75)),
    "white": _Range(saturation=(0, 0.3), value=(0.65, 1)),
    "gray": _Range(saturation=(0, 0.25), value=(0.15, 0.88)),
    "black": _Range(value=(0, 0.38)),
}


@dataclass(frozen=True)
class ColourShares:
    """Shares of an object's pixels by colour name: those that certainly are, and those that might be called so."""

    certain: Mapping[str, float]
    possible: Mapping[str, float]


def to_hsv(image: np.ndarray) -> np.ndarray | None:
    """RGB uint8 (H, W, 3) as float32 (H, W, 3): hue in degrees, saturation and value in [0, 1].

    None for a picture without colour: names of colours mean little there.
    """
    scale = np.array([360 / 255, 1 / 255, 1 / 255], np.float32)
    hsv = np.asarray(Image.fromarray(image).convert("HSV")).astype(np.float32) * scale
    return hsv if float(hsv[..., 1].mean()) >= _COLOURLESS else None


def colour_masks(hsv: np.ndarray) -> dict[str, np.ndarray]:
    """Pixels that certainly are of a colour, bool (H, W) by its name, of ``to_hsv``'s (H, W, 3)."""
    pixels = hsv.reshape(-1, 3)
    return {name: span.holds(pixels).reshape(hsv.shape[:2]) for name, span in _CERTAIN.items()}


def colour_shares(hsv: np.ndarray, mask: np.ndarray) -> ColourShares | None:
    """Colours below a mask (H, W), its border left out where enough remains; None for too few pixels to tell.

    Args:
        hsv: (H, W, 3), see ``to_hsv``.
        mask: bool (H, W).
    """
    from scipy.ndimage import binary_erosion

    inner = binary_erosion(mask, iterations=2)
    pixels = hsv[inner if int(inner.sum()) >= _LEAST_PIXELS else mask]
    if len(pixels) < _LEAST_PIXELS:
        return None
    return ColourShares(
        {name: float(span.holds(pixels).mean()) for name, span in _CERTAIN.items()},
        {name: float(span.holds(pixels).mean()) for name, span in _POSSIBLE.items()},
    )
