"""Resizing pictures and masks to the network's frame. There is no random augmentation: language has left and right.

Source: MVP-LM, sections 3.1 and 3.2.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def resized_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(h, w) of an image of ``size`` (H, W) scaled by s so that its longer side is ``longest``: floor(s * side + 0.5).

    Raises:
        ValueError: a side or ``longest`` is not positive.
    """
    height, width = size
    if min(height, width, longest) < 1:
        raise ValueError(f"sizes must be positive, got image {size} and longest side {longest}")
    scale = longest / max(height, width)
    return max(1, math.floor(scale * height + 0.5)), max(1, math.floor(scale * width + 0.5))


def resize_image(image: np.ndarray, longest: int) -> Tensor:
    """RGB uint8 (H, W, 3) to uint8 (3, h, w) with longer side ``longest``; bilinear with antialias, as PIL does it.

    This is what torchvision's ``resize`` computes, without the time that importing torchvision takes.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected an RGB uint8 image (H, W, 3), got {image.dtype} {image.shape}")
    target = resized_size(image.shape[:2], longest)
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    if tuple(pixels.shape[1:]) == target:
        return pixels.contiguous().clone()
    return F.interpolate(pixels[None], target, mode="bilinear", align_corners=False, antialias=True)[0].contiguous()


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boolean mask (H, W) to (h, w) by the nearest pixel centre; always a new array.

    Raises:
        ValueError: not a boolean array of two dimensions.
    """
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"expected a boolean mask (H, W), got {mask.dtype} {mask.shape}")
    rows, columns = nearest_indices(mask.shape[0], size[0]), nearest_indices(mask.shape[1], size[1])
    # Columns first, as whole pieces of memory: run-length codes are decoded column by column.
    return mask.T.take(columns, axis=0).T.take(rows, axis=0)


def nearest_indices(source: int, target: int) -> np.ndarray:
    """For each of ``target`` cells the index (target,) int64 of the source cell under its centre."""
    centres = (np.arange(target, dtype=np.float64) + 0.5) * (source / target)
    return np.floor(centres).astype(np.int64).clip(0, source - 1)
