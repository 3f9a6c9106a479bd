"""Checks of what a user gives to a codec."""

from collections.abc import Sequence

import numpy as np


def check_masks(masks: np.ndarray, labels: Sequence[str] | None) -> np.ndarray:
    """Masks as bool (N, H, W).

    Raises:
        ValueError: another number of axes, no pixels, or another number of labels.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3 or 0 in masks.shape[1:]:
        raise ValueError(f"masks must have shape (N, H, W) with H, W > 0, got {masks.shape}")
    if labels is not None and len(labels) != len(masks):
        raise ValueError(f"{len(masks)} masks need as many labels, got {len(labels)}")
    return masks.astype(bool, copy=False)


def check_grid(grid: int | tuple[int, int]) -> tuple[int, int]:
    """(h, w) of a grid given as a side or as (h, w).

    Raises:
        ValueError: not one or two positive numbers.
    """
    sides = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if len(sides) != 2 or any(not isinstance(side, int) or side < 1 for side in sides):
        raise ValueError(f"grid must be a number of cells or (h, w), got {grid!r}")
    return sides[0], sides[1]
