"""A contact sheet: several pictures, each under its heading, in one PNG."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mvplm.visualize.page import Card

_WIDTH, _GAP, _HEADING = 380, 16, 54
_PAPER, _INK, _FAINT = (255, 255, 255), (28, 36, 48), (90, 98, 112)


def write_sheet(path: str | Path, cards: Sequence[Card], *, columns: int = 4) -> Path:
    """Write the pictures of ``cards`` as a grid, titles and the first words of their texts above them.

    Args:
        path: PNG to write. cards: at least one. columns: pictures per row.

    Raises:
        ValueError: when there are no cards or columns is not positive.
    """
    if not cards or columns < 1:
        raise ValueError(f"a sheet needs at least one card and one column, got {len(cards)} and {columns}")
    rows = [[_tile(card) for card in cards[i : i + columns]] for i in range(0, len(cards), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    across = min(columns, len(cards))
    size = (across * _WIDTH + (across + 1) * _GAP, sum(heights) + (len(rows) + 1) * _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for place, tile in enumerate(row):
            sheet.paste(tile, (_GAP + place * (_WIDTH + _GAP), top))
        top += height + _GAP
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
    return path


def _tile(card: Card) -> Image.Image:
    with Image.open(card.image) as opened:
        picture = opened.convert("RGB")
    picture = picture.resize((_WIDTH, round(picture.height * _WIDTH / picture.width)), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (_WIDTH, picture.height + _HEADING), _PAPER)
    pen = ImageDraw.Draw(tile)
    pen.text((0, 2), card.title, fill=_INK, font=ImageFont.load_default(size=19))
    pen.text((0, 29), _shortened(card.text, pen), fill=_FAINT, font=ImageFont.load_default(size=14))
    tile.paste(picture, (0, _HEADING))
    return tile


def _shortened(text: str, pen: ImageDraw.ImageDraw) -> str:
    font = ImageFont.load_default(size=14)
    text = " ".join(text.split())
    if pen.textlength(text, font=font) <= _WIDTH:
        return text
    while pen.textlength(text + " ...", font=font) > _WIDTH:
        text = text[:-1]
    return text.rstrip(" ,") + " ..."
