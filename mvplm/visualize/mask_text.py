"""Panels for masks as text: masks over their picture, and an answer as a picture of its letters."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mvplm.visualize.palette import colour_of

_SIDE = 384
_PAPER, _INK = (250, 250, 248), (28, 36, 48)
_MARGIN, _LETTERS = 8, (8, 12)


def masks_over(pixels: np.ndarray, masks: np.ndarray) -> Image.Image:
    """A picture RGB uint8 (H, W, 3) with masks bool (N, H, W) in colours over it, on a square panel's width.

    Raises:
        ValueError: picture and masks differ in size.
    """
    if pixels.shape[:2] != masks.shape[1:]:
        raise ValueError(f"masks are {masks.shape[1:]} (H, W), the picture is {pixels.shape[:2]}")
    painted = pixels.astype(np.float32)
    for number, mask in enumerate(masks):
        painted[mask] = 0.35 * painted[mask] + 0.65 * np.array(colour_of(number), np.float32)
    picture = Image.fromarray(painted.round().astype(np.uint8), "RGB")
    return picture.resize((_SIDE, max(1, round(picture.height * _SIDE / picture.width))), Image.Resampling.BILINEAR)


def text_panel(text: str) -> Image.Image:
    """An answer in small letters on a square; its line breaks are kept, long lines are broken, the rest is left out."""
    across, down = ((_SIDE - 2 * _MARGIN) // step for step in _LETTERS)
    lines = [line[i : i + across] for line in text.split("\n") for i in range(0, max(1, len(line)), across)]
    if len(lines) > down:
        lines = [*lines[: down - 1], f"... {len(lines) - down + 1} more lines"]
    panel = Image.new("RGB", (_SIDE, _SIDE), _PAPER)
    pen, font = ImageDraw.Draw(panel), ImageFont.load_default(size=11)
    for number, line in enumerate(lines):
        pen.text((_MARGIN, _MARGIN + number * _LETTERS[1]), line, fill=_INK, font=font)
    return panel
