"""Masks as bitmaps, COCO run-length codes and polygons, and the ways between them (pycocotools does the coding)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Segmentation = Mapping[str, Any] | Sequence[Sequence[float]]


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """COCO compressed RLE ``{"size": [H, W], "counts": str}`` of a boolean mask (H, W); JSON-ready.

    Raises:
        ValueError: the mask is not two-dimensional.
    """
    from pycocotools import mask as coco

    if mask.ndim != 2:
        raise ValueError(f"mask must have shape (H, W), got {mask.shape}")
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": code["counts"].decode("ascii")}


def decode_mask(segmentation: Segmentation, size: tuple[int, int] | None = None) -> np.ndarray:
    """Boolean mask (H, W) of a compressed RLE, an uncompressed RLE (list counts) or polygons in pixels.

    Args:
        segmentation: RLE mapping, or a list of polygons ``[x1, y1, x2, y2, ...]``.
        size: (H, W); needed for polygons, checked for RLE when given.

    Raises:
        ValueError: malformed code, wrong size, polygons without a size or with fewer than three points.
    """
    from pycocotools import mask as coco

    code = to_rle(segmentation, size)
    return coco.decode(code).astype(bool)


def mask_area(segmentation: Segmentation, size: tuple[int, int] | None = None) -> int:
    """Number of pixels of a segmentation in any of the three forms."""
    from pycocotools import mask as coco

    return int(coco.area(to_rle(segmentation, size)))


def tight_box(mask: np.ndarray) -> np.ndarray | None:
    """XYXY_ABS (4,) float64 on pixel edges (max + 1) of a boolean mask (H, W); None when the mask is empty."""
    rows = mask.any(1).nonzero()[0]
    if not len(rows):
        return None
    columns = mask.any(0).nonzero()[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float64)


def to_rle(segmentation: Segmentation, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """COCO compressed RLE, counts as bytes, of a segmentation; arguments and errors as in :func:`decode_mask`."""
    from pycocotools import mask as coco

    if isinstance(segmentation, Mapping):
        return _checked_rle(segmentation, size)
    if size is None:
        raise ValueError("polygons need size=(H, W)")
    polygons = [[float(value) for value in polygon] for polygon in segmentation]
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon needs an even count of at least 6 numbers, got {len(polygon)}")
    if not polygons:
        return coco.encode(np.zeros(size, np.uint8, order="F"))
    return coco.merge(coco.frPyObjects(polygons, *size))


def _checked_rle(code: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    from pycocotools import mask as coco

    if "size" not in code or "counts" not in code:
        raise ValueError(f"an RLE needs the keys 'size' and 'counts', got {sorted(code)}")
    height, width = (int(side) for side in code["size"])
    if size is not None and (height, width) != tuple(size):
        raise ValueError(f"RLE size {(height, width)} differs from the image size {tuple(size)}")
    counts = code["counts"]
    if isinstance(counts, (list, tuple)):
        if sum(counts) != height * width:
            raise ValueError(f"RLE counts sum to {sum(counts)}, expected {height}x{width}={height * width}")
        return coco.frPyObjects({"size": [height, width], "counts": list(counts)}, height, width)
    raw = counts.encode("ascii") if isinstance(counts, str) else bytes(counts)
    return {"size": [height, width], "counts": raw}
