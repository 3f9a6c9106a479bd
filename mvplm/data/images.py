"""Reading pictures of every kind into one form: RGB uint8 (H, W, 3), upright."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

ImageSource = str | Path | bytes | Image.Image | np.ndarray | Tensor

DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_BOMB_ERRORS = (Image.DecompressionBombError,)
_SIXTEEN_BIT_STEP = 257


def load_image(source: ImageSource) -> np.ndarray:
    """Any picture as RGB uint8 (H, W, 3), EXIF orientation applied, a fresh array.

    Gray is repeated, palette and CMYK are converted, transparency is laid over white, 16-bit gray is scaled to 8 bit.
    Pillow's limit against decompression bombs stays in force. Source: MVP-LM, section 3.1.

    Args:
        source: path, encoded bytes, PIL image, array (H, W) or (H, W, 1|3|4) of uint8, uint16 or bool, or tensor
            (3|1, H, W) of uint8 or floating point in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is empty, truncated or no picture (the message names it), or the array has a wrong shape.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Tensor):
        return _from_tensor(source)
    if isinstance(source, Image.Image):
        return _decoded(source, "the given PIL image")
    if isinstance(source, bytes):
        return _from_file(BytesIO(source), "the given bytes")
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"image file not found: {path}")
        return _from_file(path, str(path))
    raise ValueError(f"an image is a path, bytes, PIL image, array or tensor, got {type(source).__name__}")


def image_size(path: str | Path) -> tuple[int, int]:
    """Upright (H, W) of an image file, from its header alone.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the header cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"image file not found: {path}")
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (*DECODE_ERRORS, *_BOMB_ERRORS) as error:
        raise ValueError(f"cannot read image {path}: {_reason(error)}") from error
    return (width, height) if turned else (height, width)


def _from_file(file: Path | BytesIO, name: str) -> np.ndarray:
    try:
        with Image.open(file) as picture:
            return _decoded(picture, name)
    except (*DECODE_ERRORS, *_BOMB_ERRORS) as error:
        raise ValueError(f"cannot read image {name}: {_reason(error)}") from error


def _decoded(picture: Image.Image, name: str) -> np.ndarray:
    try:
        picture.load()
    except DECODE_ERRORS as error:
        raise ValueError(f"its pixels cannot be decoded ({_reason(error)})") from error
    return _from_pil(picture, name)


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return "it is not an image file" if "cannot identify image file" in text else text


def _from_pil(picture: Image.Image, name: str) -> np.ndarray:
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        return _from_array(np.asarray(upright).clip(0, 65535).astype(np.uint16))
    if upright.mode == "F":
        raise ValueError(f"{name} holds floating point pixels, expected 8 or 16 bits")
    if upright.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layer)
    return np.array(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _from_array(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ValueError(f"an image array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {array.shape}")
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = ((array.astype(np.uint32) + _SIXTEEN_BIT_STEP // 2) // _SIXTEEN_BIT_STEP).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ValueError(f"an image array must be uint8 or uint16, got {array.dtype}")
    if array.shape[2] == 4:
        return _from_pil(Image.fromarray(array), "the given array")
    return np.ascontiguousarray(np.repeat(array, 3, 2)) if array.shape[2] == 1 else array.copy()


def _from_tensor(tensor: Tensor) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise ValueError(f"an image tensor must be (3, H, W) or (1, H, W), got {tuple(tensor.shape)}")
    values = tensor.detach().cpu()
    if values.is_floating_point():
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise ValueError(f"a floating point image tensor must lie in [0, 1], got [{low:g}, {high:g}]")
        values = (values.float() * 255 + 0.5).to(torch.uint8)
    elif values.dtype != torch.uint8:
        raise ValueError(f"an image tensor must be uint8 or floating point, got {values.dtype}")
    return _from_array(values.permute(1, 2, 0).contiguous().numpy())
