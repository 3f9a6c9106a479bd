"""A small data set of plain pictures, and captioners that can be imported by name."""

import sys
from pathlib import Path

import numpy as np
import pytest

from mvplm.structures import Record

FOLDER = str(Path(__file__).parent)
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """40 pictures of 6 x 8 pixels, each of another gray; the ids begin at 100 and are partly text."""
    ids = [100 + place if place % 3 else f"id {place}" for place in range(40)]
    return [Record(name, np.full((6, 8, 3), 6 * place, np.uint8), (6, 8)) for place, name in enumerate(ids)]
