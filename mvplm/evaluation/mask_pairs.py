"""The masks of one expression, counted: pixels that prediction and truth share, and pixels of either."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True)
class MaskSet:
    """Masks of one expression.

    Attributes:
        masks: (n, H, W) bool.
        ignored: (H, W) bool, pixels that take no part; None when all do.
    """

    masks: np.ndarray
    ignored: np.ndarray | None = None

    @classmethod
    def read(cls, mask: np.ndarray | None, *, ignore_label: int | None = None) -> "MaskSet | None":
        """From (H, W) or (n, H, W): bool, or integers of which every one but 0 and ``ignore_label`` is the object.

        None stays None.

        Raises:
            ValueError: another number of dimensions.
        """
        if mask is None:
            return None
        if mask.ndim not in (2, 3):
            raise ValueError(f"masks must be (H, W) or (n, H, W), got {mask.shape}")
        stack = mask[None] if mask.ndim == 2 else mask
        if stack.dtype == bool:
            return cls(stack)
        ignored = None if ignore_label is None else stack == ignore_label
        objects = stack != 0
        return cls(objects) if ignored is None else cls(objects & ~ignored, ignored.any(0))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.masks.shape[1], self.masks.shape[2]

    def without(self, pixels: np.ndarray | None) -> "MaskSet":
        """The same masks without ``pixels`` (H, W) bool; None takes nothing away."""
        return self if pixels is None else MaskSet(self.masks & ~pixels, self.ignored)

    def framed(self, side: int) -> "MaskSet":
        """The masks scaled by their nearest pixels so that the longer side is ``side``; what would be added below or
        beside them to make a square belongs to no mask and is left away."""
        height, width = self.size
        longer = max(height, width)
        rows, columns = (_nearest(length, max(round(length * side / longer), 1)) for length in (height, width))
        ignored = None if self.ignored is None else self.ignored[np.ix_(rows, columns)]
        return MaskSet(self.masks[:, rows][:, :, columns], ignored)

    def area(self) -> int:
        """Pixels of the union."""
        return int(np.count_nonzero(merged(self.masks)))


def merged(masks: np.ndarray) -> np.ndarray:
    """Union (1, H, W) of masks (n, H, W)."""
    return masks if len(masks) == 1 else masks.any(0, keepdims=True)


@dataclass(frozen=True)
class Pair:
    """Pixels shared by two masks, and pixels of either."""

    overlap: int
    union: int


def pair_unions(predicted: np.ndarray, true: np.ndarray) -> Pair:
    """The pair of the union of (n, H, W) predicted and that of (m, H, W) true masks."""
    guess, target = merged(predicted), merged(true)
    overlap = int(np.count_nonzero(guess & target))
    return Pair(overlap, int(np.count_nonzero(guess)) + int(np.count_nonzero(target)) - overlap)


def pair_masks(predicted: np.ndarray, true: np.ndarray, *, leftover: bool = True) -> list[Pair]:
    """Pairs of (n, H, W) predicted and (m, H, W) true masks, max(n, m) of them.

    The assignment has the least sum of 1 - IoU at full size; a mask that is left over stands beside one without pixels.

    Args:
        predicted, true: bool.
        leftover: False: masks that are left over are left out, unless nothing could be matched.
    """
    areas, targets = (np.count_nonzero(masks, axis=(1, 2)) for masks in (predicted, true))
    shared = np.zeros((len(predicted), len(true)), np.int64)
    for row, mask in enumerate(predicted):
        shared[row] = np.count_nonzero(mask & true, axis=(1, 2))
    either = areas[:, None] + targets[None] - shared
    rows, columns = linear_sum_assignment(1 - shared / np.maximum(either, 1))
    pairs = [Pair(int(shared[i, j]), int(either[i, j])) for i, j in zip(rows, columns, strict=True)]
    if pairs and not leftover:
        return pairs
    alone = [*np.delete(areas, rows), *np.delete(targets, columns)]
    return pairs + [Pair(0, int(area)) for area in alone]


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of ``new`` cells along a side, the pixel of ``old`` under its centre."""
    return (2 * np.arange(new) + 1) * old // (2 * new)
