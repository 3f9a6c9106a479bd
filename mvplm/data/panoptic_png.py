"""Panoptic maps as pictures: segment id = R + 256 G + 65536 B, 0 is void (the COCO panoptic format)."""

from pathlib import Path

import numpy as np
from PIL import Image

from mvplm.data.images import load_image

_LARGEST_ID = 256**3 - 1


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) integers in [0, 2**24) as uint8 (H, W, 3).

    Raises:
        ValueError: wrong shape, or an id outside the range.
    """
    if ids.ndim != 2:
        raise ValueError(f"segment ids must have shape (H, W), got {ids.shape}")
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) > _LARGEST_ID):
        raise ValueError(f"segment ids must lie in [0, {_LARGEST_ID}], got [{int(ids.min())}, {int(ids.max())}]")
    values = ids.astype(np.uint32)
    return np.stack([values & 255, (values >> 8) & 255, values >> 16], -1).astype(np.uint8)


def rgb_to_ids(rgb: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) int32 of a uint8 picture (H, W, 3)."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ValueError(f"a panoptic picture must be uint8 (H, W, 3), got {rgb.dtype} {rgb.shape}")
    values = rgb.astype(np.int32)
    return values[..., 0] + 256 * values[..., 1] + 65536 * values[..., 2]


def read_panoptic(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Segment ids (H, W) int32 of a panoptic PNG.

    Raises:
        FileNotFoundError: no such file.
        ValueError: undecodable, or another size than ``size`` (H, W); the message names the file.
    """
    ids = rgb_to_ids(load_image(path))
    if size is not None and ids.shape != tuple(size):
        raise ValueError(f"panoptic map {path} has size {ids.shape}, expected {tuple(size)} (H, W)")
    return ids


def write_panoptic(ids: np.ndarray, path: str | Path) -> None:
    """Write segment ids (H, W) as a panoptic PNG."""
    Image.fromarray(ids_to_rgb(ids)).save(path, format="PNG")
