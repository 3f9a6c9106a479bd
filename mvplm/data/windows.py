"""Looks at a picture: the whole, its mirror image, and windows cut out of it.

Each picture has a fixed set of looks, so that what a frozen encoder makes of them can be remembered.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SMALLEST_SIDE = 0.4


@dataclass(frozen=True)
class Shown:
    """How much of a record a sample shows.

    Attributes:
        windows: different looks at each picture in training, see :func:`window_of`; one of them is drawn per visit.
        target: attach the target (always wanted in training; optional in evaluation).
        masks: keep the target's masks; False leaves its boxes alone (the box of a mask is still the mask's).
    """

    windows: int = 1
    target: bool = True
    masks: bool = True


@dataclass(frozen=True)
class Window:
    """A window of a picture, in its pixels, mirrored left to right or not."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what is shown."""
        return self.height, self.width

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The window of an image (H, W, 3) or a mask (H, W)."""
        shown = array[self.top : self.top + self.height, self.left : self.left + self.width]
        return shown[:, ::-1] if self.mirrored else shown

    def boxes(self, boxes: Tensor) -> Tensor:
        """What is seen of boxes (N, 4) XYXY in pixels of the whole, in pixels of the window."""
        offset = torch.tensor([self.left, self.top] * 2, dtype=boxes.dtype)
        limit = torch.tensor([self.width, self.height] * 2, dtype=boxes.dtype)
        shown = (boxes - offset).clamp(min=0).minimum(limit)
        if not self.mirrored:
            return shown
        return torch.stack([self.width - shown[:, 2], shown[:, 1], self.width - shown[:, 0], shown[:, 3]], dim=1)


def window_of(size: tuple[int, int], number: int, *, seed: str) -> Window:
    """Look ``number`` at a picture: 0 the whole, 1 its mirror image, then windows, every second one mirrored.

    Args:
        size: (H, W) of the picture.
        number: which of its looks.
        seed: of the windows; their sides are 40 to 100 % of the picture's, with about its shape.
    """
    height, width = size
    if number < 2:
        return Window(0, 0, height, width, mirrored=number == 1)
    rng = random.Random(f"{seed}-window-{number}")
    scale, stretch = rng.uniform(_SMALLEST_SIDE, 1.0), rng.uniform(0.8, 1.25)
    rows = max(1, min(height, round(height * scale * stretch)))
    columns = max(1, min(width, round(width * scale / stretch)))
    top, left = rng.randint(0, height - rows), rng.randint(0, width - columns)
    return Window(top, left, rows, columns, mirrored=number % 2 == 1)
