"""From the token orders of Qwen3-VL to maps in reading order.

Patches and un-merged visual tokens come in blocks of merge x merge; merged tokens, and the language model's image
tokens, come in reading order. A plain reshape of block-ordered tokens gives a wrong map that looks plausible.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Grid = tuple[int, int]


def _check(tokens: Tensor, grid: Grid, *, merge: int) -> None:
    if grid[0] % merge or grid[1] % merge:
        raise ValueError(f"a patch grid must have sides divisible by {merge}, got {grid}")
    if tokens.ndim != 2 or len(tokens) != grid[0] * grid[1]:
        raise ValueError(f"expected tokens ({grid[0] * grid[1]}, C) for the grid {grid}, got {tuple(tokens.shape)}")


def unblock(tokens: Tensor, grid: Grid, *, merge: int = 2) -> Tensor:
    """One image's block-ordered patch tokens (gh * gw, C) as a map (gh, gw, C) in reading order.

    Args:
        tokens: of one image, in blocks of ``merge`` x ``merge`` patches.
        grid: (gh, gw) in patches.
        merge: side of a block.

    Raises:
        ValueError: the grid is no multiple of ``merge`` or has another number of patches.
    """
    _check(tokens, grid, merge=merge)
    height, width = grid
    blocks = tokens.view(height // merge, width // merge, merge, merge, -1)
    return blocks.transpose(1, 2).reshape(height, width, -1)


def unblock_batch(tokens: Tensor, grids: Sequence[Grid], *, merge: int = 2) -> list[Tensor]:
    """Maps (C, gh, gw) of all images whose block-ordered patch tokens (sum of gh * gw, C) stand one after another.

    Raises:
        ValueError: tokens and grids do not add up, or a grid is no multiple of ``merge``.
    """
    return [unblock(part, grid, merge=merge).permute(2, 0, 1) for part, grid in _parts(tokens, grids)]


def merged_maps(tokens: Tensor, grids: Sequence[Grid], *, merge: int = 2) -> list[Tensor]:
    """Maps (D, gh / merge, gw / merge) of all images from merged tokens (sum of V, D), which are in reading order.

    Args:
        tokens: merged tokens of all images, one image after another.
        grids: (gh, gw) of each image, in patches.
        merge: patches per side of a merged token.

    Raises:
        ValueError: tokens and grids do not add up.
    """
    merged = [(height // merge, width // merge) for height, width in grids]
    return [part.view(*grid, -1).permute(2, 0, 1) for part, grid in _parts(tokens, merged)]


def _parts(tokens: Tensor, grids: Sequence[Grid]) -> list[tuple[Tensor, Grid]]:
    counts = [height * width for height, width in grids]
    if tokens.ndim != 2 or len(tokens) != sum(counts):
        raise ValueError(f"expected tokens ({sum(counts)}, C) for the grids {list(grids)}, got {tuple(tokens.shape)}")
    return list(zip(tokens.split(counts), grids, strict=True))


def unpatchify(pixel_values: Tensor, grid: Grid, *, merge: int = 2, patch: int = 16) -> Tensor:
    """The processor's normalised image (3, patch * gh, patch * gw) from its patch rows.

    A still image is repeated in time; the first of its copies is taken.

    Args:
        pixel_values: (gh * gw, 3 * T * patch * patch) of one image, block-ordered, values in [-1, 1].
        grid: (gh, gw) in patches.
        merge: side of a block.
        patch: side of a patch in pixels.

    Raises:
        ValueError: rows, their length and the grid do not belong together.
    """
    _check(pixel_values, grid, merge=merge)
    if pixel_values.shape[1] % (3 * patch * patch):
        raise ValueError(f"expected rows of 3 * T * {patch} * {patch} numbers, got {pixel_values.shape[1]}")
    pixels = pixel_values.view(len(pixel_values), 3, -1, patch, patch)[:, :, 0]
    ordered = unblock(pixels.flatten(1), grid, merge=merge).view(*grid, 3, patch, patch)
    return torch.einsum("hwcyx->chywx", ordered).reshape(3, grid[0] * patch, grid[1] * patch)
