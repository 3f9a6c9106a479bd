"""The box around a mask on the CPU, without a detour through tensors."""

import numpy as np


def tight_box(mask: np.ndarray) -> np.ndarray | None:
    """XYXY_ABS (4,) float64 on pixel edges (max + 1) of a boolean mask (H, W); None when the mask is empty."""
    rows = mask.any(1).nonzero()[0]
    if not len(rows):
        return None
    columns = mask.any(0).nonzero()[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)
