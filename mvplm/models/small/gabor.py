"""First kernels of a vision encoder from scratch: colours and edges, as trained encoders have them after long."""

import math

import torch
from torch import Tensor

_PERIOD, _SPREAD = 5.0, 2.0
_ORIENTATIONS = 4
# Light, red against green, and both against blue.
_COLOURS = ((1.0, 1.0, 1.0), (1.0, -1.0, 0.0), (0.5, 0.5, -1.0))


def gabor_kernels(side: int) -> Tensor:
    """Kernels (30, 3, side, side) of norm 1 on RGB: three axes of colour with both signs, then waves in each of them.

    Waves have a period of 5 pixels, four orientations, and both phases; their sum is 0.
    Source: Gabor filters as first layer, as in "Gabor Convolutional Networks" (arXiv 1705.01450); choice ours.

    Args:
        side: pixels, odd.
    """
    place = torch.arange(side, dtype=torch.float32) - side // 2
    y, x = torch.meshgrid(place, place, indexing="ij")
    near = torch.exp(-(x * x + y * y) / (2 * _SPREAD**2))
    waves = []
    for turn in range(_ORIENTATIONS):
        along = x * math.cos(math.pi * turn / _ORIENTATIONS) + y * math.sin(math.pi * turn / _ORIENTATIONS)
        for phase in (0.0, math.pi / 2):
            wave = near * torch.cos(2 * math.pi * along / _PERIOD + phase)
            waves.append(wave - near * wave.sum() / near.sum())
    shapes, colours = torch.stack([near, -near, *waves]), torch.tensor(_COLOURS)
    kernels = torch.einsum("kyx,nc->kncyx", shapes, colours).flatten(0, 1)
    return kernels / kernels.flatten(1).norm(dim=1)[:, None, None, None]


def start_with_gabor(convolution: torch.nn.Conv2d) -> None:
    """Put :func:`gabor_kernels` in the first kernels of a convolution of RGB, as large as its own are on average."""
    weight = convolution.weight
    kernels = gabor_kernels(weight.shape[-1])[: len(weight)]
    with torch.no_grad():
        weight[: len(kernels)] = kernels * weight.flatten(1).norm(dim=1).mean()
