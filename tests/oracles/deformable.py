"""Deformable attention and bilinear sampling one number at a time."""

import math

from torch import Tensor


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """Sample (dim,) of a map (dim, h, w) at fractions (x, y) of its extent; zero outside."""
    height, width = level.shape[-2:]
    column, row = x * width - 0.5, y * height - 0.5
    left, top = math.floor(column), math.floor(row)
    total = level.new_zeros(level.shape[0])
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < height and 0 <= j < width:
                total = total + level[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def deformable_attention(value: Tensor, shapes: list[tuple[int, int]], *, locations: Tensor, weights: Tensor) -> Tensor:
    """(B, Q, heads * dim) by loops over everything."""
    batch, _, heads, dim = value.shape
    _, queries, _, levels, points, _ = locations.shape
    result = value.new_zeros(batch, queries, heads, dim)
    for b in range(batch):
        start = 0
        for level in range(levels):
            height, width = shapes[level]
            cells = value[b, start : start + height * width].reshape(height, width, heads, dim)
            start += height * width
            for q in range(queries):
                for head in range(heads):
                    for point in range(points):
                        x, y = locations[b, q, head, level, point].tolist()
                        sample = bilinear(cells[:, :, head].permute(2, 0, 1), x, y)
                        result[b, q, head] += weights[b, q, head, level, point] * sample
    return result.flatten(2)
