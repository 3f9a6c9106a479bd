"""Pictures side by side, each under its heading."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_GAP, _HEADING = 8, 26
_PAPER, _INK = (255, 255, 255), (28, 36, 48)


def side_by_side(pictures: Sequence[Image.Image], headings: Sequence[str]) -> Image.Image:
    """One picture of several.

    Args:
        pictures: at least one, of any sizes; they stand at the top. headings: one for each.

    Raises:
        ValueError: there is no picture, or not one heading for each.
    """
    if not pictures or len(pictures) != len(headings):
        raise ValueError(f"each picture needs a heading, got {len(pictures)} pictures and {len(headings)} headings")
    width = sum(picture.width for picture in pictures) + _GAP * (len(pictures) - 1)
    out = Image.new("RGB", (width, _HEADING + max(picture.height for picture in pictures)), _PAPER)
    pen, font, left = ImageDraw.Draw(out), ImageFont.load_default(size=18), 0
    for picture, heading in zip(pictures, headings, strict=True):
        pen.text((left + 4, 1), heading, fill=_INK, font=font)
        out.paste(picture, (left, _HEADING))
        left += picture.width + _GAP
    return out
