"""Fragments of SA-1B merged into whole objects, guided by a coarse mask.

SA-1B's masks are class-agnostic pieces: a bicycle may be there as frame, wheels and saddle. The share of a piece that
lies inside the coarse mask (IoF) says whether it belongs to the object: a wheel lies wholly inside the bicycle, but
covers little of it, so that IoU would miss it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from mvplm.data.ors.config import OrsConfig
from mvplm.structures.masks import to_rle

_SQUARE = np.ones((3, 3), bool)
"""Neighbours in eight directions."""


@dataclass(frozen=True)
class Merged:
    """The whole object.

    Attributes:
        mask: (H, W) bool, not empty. selected: how many fragments it is made of. fallback: the coarse mask is taken.
    """

    mask: np.ndarray
    selected: int
    fallback: bool


def merge_fragments(coarse: np.ndarray, fragments: Sequence[Mapping[str, Any]], *, config: OrsConfig) -> Merged:
    """The mask of a whole object.

    Args:
        coarse: (H, W) bool, not empty.
        fragments: RLE mappings of the same image.
        config: thresholds.

    Raises:
        ValueError: a fragment of another size.
    """
    chosen = _selected(coarse, fragments, config=config)
    merged = np.logical_or.reduce(chosen) if chosen else coarse
    rows, columns = _frame(coarse | merged)
    part, whole = merged[rows, columns], coarse[rows, columns]
    if config.add_back:
        part = _with_rest(part, whole, config=config)
    part = _without_holes(part, config=config)
    rho = max(1, round(config.close_ratio * sqrt(coarse.size)))
    part = _large_parts(_smooth(part, rho=rho), config=config)
    if np.count_nonzero(part) < config.fallback_ratio * np.count_nonzero(coarse):
        return Merged(coarse, len(chosen), True)
    mask = np.zeros_like(coarse)
    mask[rows, columns] = part
    return Merged(mask, len(chosen), False)


def _selected(coarse: np.ndarray, fragments: Sequence[Mapping[str, Any]], *, config: OrsConfig) -> list[np.ndarray]:
    """Masks of the fragments that lie inside. Shares are taken from the codes; only what is chosen is unpacked."""
    from pycocotools import mask as coco

    codes = [to_rle(fragment, coarse.shape) for fragment in fragments]
    least = max(config.fragment_pixels, config.fragment_area_ratio * coarse.size)
    codes = [code for code, area in zip(codes, coco.area(codes), strict=True) if area >= least] if codes else []
    if not codes:
        return []
    target = coco.encode(np.asfortranarray(coarse.astype(np.uint8)))
    # Against a crowd COCO divides by the area of the first mask alone, which is the IoF.
    shares = coco.iou(codes, [target], [1])[:, 0]
    return [
        coco.decode(code).astype(bool)
        for code, share in zip(codes, shares, strict=True)
        if share >= config.fragment_iof
    ]


def _frame(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a mask, one pixel more on every side where the image has it."""
    places = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    rows, columns = (slice(max(int(at[0]) - 1, 0), int(at[-1]) + 2) for at in places)
    return rows, columns


def _with_rest(merged: np.ndarray, coarse: np.ndarray, *, config: OrsConfig) -> np.ndarray:
    """``merged`` with parts of ``coarse`` beside it, or large enough by themselves."""
    from scipy.ndimage import binary_dilation, label

    parts, count = label(coarse & ~merged, _SQUARE)
    if not count:
        return merged
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    wanted = areas >= config.add_back_ratio * np.count_nonzero(coarse)
    wanted[np.unique(parts[binary_dilation(merged, _SQUARE)])] = True
    wanted[0] = False
    return merged | wanted[parts]


def _without_holes(mask: np.ndarray, *, config: OrsConfig) -> np.ndarray:
    """Small holes filled; a hole is background that is not connected, in four directions, with the outside."""
    from scipy.ndimage import binary_fill_holes, label

    holes, count = label(binary_fill_holes(mask) & ~mask)
    if not count:
        return mask
    small = np.bincount(holes.ravel(), minlength=count + 1) <= config.hole_ratio * np.count_nonzero(mask)
    small[0] = False
    return mask | small[holes]


def _smooth(mask: np.ndarray, *, rho: int) -> np.ndarray:
    """Closing with a square of 2 rho + 1 pixels, then opening with one of 3.

    The border is repeated outwards, so that objects at the image's border are not eaten there. Squares, because discs
    and crosses would clip the corners of rectangles.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    margin = 2 * rho + 2
    wide = np.pad(mask, margin, mode="edge").view(np.uint8)
    closed = minimum_filter(maximum_filter(wide, 2 * rho + 1), 2 * rho + 1)
    opened = maximum_filter(minimum_filter(closed, 3), 3)
    return opened[margin:-margin, margin:-margin].astype(bool)


def _large_parts(mask: np.ndarray, *, config: OrsConfig) -> np.ndarray:
    """Without parts that are tiny beside the largest."""
    from scipy.ndimage import label

    parts, count = label(mask, _SQUARE)
    if count < 2:
        return mask
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas >= config.component_ratio * areas.max())[parts] & mask
