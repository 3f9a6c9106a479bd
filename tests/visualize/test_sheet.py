"""The contact sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvplm.visualize import Card, write_sheet

RED = (200, 30, 40)


def card(folder: Path, height: int) -> Card:
    path = folder / f"{height}.png"
    Image.fromarray(np.full((height, 190, 3), RED, np.uint8)).save(path)
    return Card("A title", path, text="words " * 50)


def test_every_picture_has_its_place(tmp_path: Path):
    cards = [card(tmp_path, height) for height in (190, 95, 380)]
    with Image.open(write_sheet(tmp_path / "deep" / "sheet.png", cards, columns=2)) as sheet:
        pixels = np.asarray(sheet)
    red = (np.abs(pixels.astype(int) - RED).max(-1) < 3).sum()
    # Each picture is enlarged to twice its width.
    assert red == pytest.approx(4 * 190 * (190 + 95 + 380), rel=0.01)
    assert sheet.width < sheet.height


def test_a_sheet_of_nothing_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one card"):
        write_sheet(tmp_path / "sheet.png", [])
