"""From small mask logits over the padded frame to logits at the size of the original image."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mvplm.postprocess.view import ImageView


def resize_masks(logits: Tensor, *, frame: tuple[int, int], valid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Bilinear to the padded frame, crop of the valid part, bilinear to the original size.

    Args:
        logits: (N, h, w) over the padded frame.
        frame: (H, W) padded. valid: (h, w) un-padded part, at the top left. size: (H, W) original.

    Returns:
        (N, H, W) float32 logits.
    """
    full = _bilinear(logits.float()[None], frame)
    return _bilinear(full[..., : valid[0], : valid[1]], size)[0]


def full_size_masks(view: ImageView, queries: Tensor, *, chunk: int) -> Iterator[Tensor]:
    """Logits (n, H, W) at the original size of some queries (N,), at most ``chunk`` of them at a time, in order."""
    for part in queries.split(chunk):
        if len(part):
            yield resize_masks(view.mask_logits(part), frame=view.frame, valid=view.valid, size=view.size)


def mask_scores(logits: Tensor) -> Tensor:
    """How sure masks are of themselves: mean probability (N,) of their pixels with positive logit (N, H, W), or 0."""
    inside = logits > 0
    sure = (logits.sigmoid() * inside).sum((1, 2))
    return sure / (inside.sum((1, 2)) + 1e-6)


def _bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=torch.Size(size), mode="bilinear", align_corners=False)
