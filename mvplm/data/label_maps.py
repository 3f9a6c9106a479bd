"""Label maps: pictures whose pixels are class numbers, not colours."""

from pathlib import Path

import numpy as np
from PIL import Image

from mvplm.data.images import DECODE_ERRORS

_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")


def read_labels(path: str | Path) -> np.ndarray:
    """Class numbers (H, W) int32 of a PNG or TIFF with 8 or 16 bits; of a palette picture its indices.

    Raises:
        FileNotFoundError: no such file.
        ValueError: undecodable, or a colour picture; the message names the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"label map not found: {path}")
    try:
        with Image.open(path) as picture:
            if picture.mode not in _NUMBERS:
                raise ValueError(f"its pixels are colours ({picture.mode}), expected class numbers")
            return np.asarray(picture).astype(np.int32)
    except DECODE_ERRORS as error:
        raise ValueError(f"cannot read label map {path}: {error}") from error


def write_labels(labels: np.ndarray, path: str | Path) -> None:
    """Write class numbers (H, W) in [0, 65535]: 8 bits where they suffice, else 16; the ending of ``path`` decides
    between PNG and TIFF.

    Raises:
        ValueError: wrong shape or range.
    """
    if labels.ndim != 2:
        raise ValueError(f"class numbers must have shape (H, W), got {labels.shape}")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > 65535):
        raise ValueError(f"class numbers must lie in [0, 65535], got [{int(labels.min())}, {int(labels.max())}]")
    wide = labels.dtype == np.uint16 or (labels.size and int(labels.max()) > 255)
    Image.fromarray(labels.astype(np.uint16 if wide else np.uint8)).save(path)
