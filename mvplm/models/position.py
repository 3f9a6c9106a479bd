"""Sine embeddings of places in a map and of boxes, always float32.

Source: DETR (maps) and DAB-DETR (boxes).
"""

import math

import torch
from torch import Tensor

_TEMPERATURE = 10000.0
_EPS = 1e-6


def sine_embedding(values: Tensor, channels: int) -> Tensor:
    """(...) numbers in [0, 1] to (..., channels) float32: sine on even, cosine on odd channels, rising wavelengths."""
    pair = torch.arange(channels // 2, dtype=torch.float32, device=values.device)
    rates = 2 * math.pi / _TEMPERATURE ** (2 * pair / channels)
    angles = values.float()[..., None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def map_position_embedding(rows: Tensor, columns: Tensor, *, shape: tuple[int, int], width: int) -> Tensor:
    """Embedding (B, h * w, C) float32 of the cells of a map, vertical half first; places count from 1.

    Args:
        rows, columns: (B,) number of valid rows and columns, counted from the top left corner.
        shape: (h, w) of the map.
        width: C, a multiple of 4.
    """
    halves = []
    for count, side in ((rows, shape[0]), (columns, shape[1])):
        place = torch.arange(1, side + 1, dtype=torch.float32, device=count.device)
        halves.append(sine_embedding(place / (count.float()[:, None] + _EPS), width // 2))
    vertical, horizontal = halves
    batch = len(rows)
    vertical = vertical[:, :, None].expand(batch, *shape, width // 2)
    horizontal = horizontal[:, None].expand(batch, *shape, width // 2)
    return torch.cat([vertical, horizontal], dim=-1).flatten(1, 2)


def box_position_embedding(boxes: Tensor, width: int) -> Tensor:
    """Embedding (..., 2 * C) float32 of boxes (..., 4) cxcywh in [0, 1]; C / 2 channels each of cy, cx, w, h.

    Args:
        boxes: (..., 4) CXCYWH_NORM of the padded frame.
        width: C, a multiple of 4.
    """
    centre_x, centre_y, box_width, box_height = boxes.unbind(-1)
    ordered = torch.stack([centre_y, centre_x, box_width, box_height], dim=-1)
    return sine_embedding(ordered, width // 2).flatten(-2)
