"""Drawn masks and damaged answers for the benchmarks of masks as text."""

import random

import numpy as np

SIDE = 64
LABELS = ["others", "dog on the left"]


def draw_masks(count: int) -> np.ndarray:
    """(count, 64, 64) bool."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).standard_normal((count, SIDE, SIDE))
    smooth = np.stack([gaussian_filter(one, 6) for one in noise])
    return smooth > np.quantile(smooth, 0.7, axis=(1, 2), keepdims=True)


def damage(text: str, draw: random.Random) -> str:
    """An answer that is cut, has lost or doubled a part, or has other characters in it."""
    place, length = draw.randrange(len(text)), draw.randrange(1, 30)
    part = text[place : place + length]
    middle = ("", part * 2, "".join(draw.sample(part, len(part))), "".join(draw.choices(text, k=length)))
    if draw.random() < 0.2:
        return text[:place]
    return text[:place] + draw.choice(middle) + text[place + length :]
