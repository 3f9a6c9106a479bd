"""Partition of the background into two to four wavy regions."""

import math
import random
from dataclasses import dataclass

import numpy as np

from mvplm.data.scenes.stuff import STUFF
from mvplm.data.scenes.things import Region


@dataclass(frozen=True)
class Background:
    """labels: (size, size) uint8, index into ``regions`` at every pixel."""

    labels: np.ndarray
    regions: tuple[Region, ...]


def draw_background(rng: random.Random, size: int) -> Background:
    """A random partition of an image of ``size`` pixels; every region has a different texture."""
    plan = rng.choices((_horizon, _bands, _upright, _diagonal, _corner, _quarters), (5, 4, 2, 3, 4, 2))[0]
    raw = plan(rng, size)
    count = int(raw.max()) + 1
    names = rng.sample(STUFF, count)
    if "sky" in names:
        where = names.index("sky")
        names[0], names[where] = names[where], names[0]
    regions = []
    for index, name in enumerate(names):
        mask = raw == index
        rows, columns = np.count_nonzero(mask, axis=1), np.count_nonzero(mask, axis=0)
        total, axis = int(rows.sum()), np.arange(size)
        regions.append(Region(name, int((columns * axis).sum()) / total + 0.5, int((rows * axis).sum()) / total + 0.5))
    return Background(raw, tuple(regions))


def _curve(rng: random.Random, size: int, *, low: float, high: float, slope: float = 0.0) -> np.ndarray:
    """Wavy line (size,): a height for each place along the other axis, pixels."""
    axis = np.arange(size) / size
    line = rng.uniform(low, high) + (rng.uniform(-0.12, 0.12) + slope) * (axis - 0.5)
    for amplitude, cycles in ((0.035, rng.uniform(0.6, 1.6)), (0.014, rng.uniform(2.5, 5.0))):
        line = line + rng.uniform(0.3, 1.0) * amplitude * np.sin(2 * math.pi * (cycles * axis + rng.random()))
    return line * size


def _below(size: int, curve: np.ndarray) -> np.ndarray:
    return np.arange(size)[:, None] > curve[None, :]


def _right(size: int, curve: np.ndarray) -> np.ndarray:
    return np.arange(size)[None, :] > curve[:, None]


def _horizon(rng: random.Random, size: int) -> np.ndarray:
    return _below(size, _curve(rng, size, low=0.28, high=0.68)).astype(np.uint8)


def _bands(rng: random.Random, size: int) -> np.ndarray:
    first = _below(size, _curve(rng, size, low=0.2, high=0.34))
    return (first.astype(np.uint8) + (_below(size, _curve(rng, size, low=0.56, high=0.76)) & first)).astype(np.uint8)


def _upright(rng: random.Random, size: int) -> np.ndarray:
    return _right(size, _curve(rng, size, low=0.32, high=0.68)).astype(np.uint8)


def _diagonal(rng: random.Random, size: int) -> np.ndarray:
    slope = rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
    return _below(size, _curve(rng, size, low=0.4, high=0.6, slope=slope)).astype(np.uint8)


def _corner(rng: random.Random, size: int) -> np.ndarray:
    lower = _below(size, _curve(rng, size, low=0.3, high=0.55))
    right = _right(size, _curve(rng, size, low=0.34, high=0.66))
    return np.where(lower, np.uint8(1) + right, np.uint8(0)).astype(np.uint8)


def _quarters(rng: random.Random, size: int) -> np.ndarray:
    lower = _below(size, _curve(rng, size, low=0.4, high=0.6))
    upper_right = _right(size, _curve(rng, size, low=0.36, high=0.64))
    lower_right = _right(size, _curve(rng, size, low=0.36, high=0.64))
    return np.where(lower, np.uint8(2) + lower_right, np.uint8(0) + upper_right).astype(np.uint8)
