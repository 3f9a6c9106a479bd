"""Patterns of things: where the second colour goes."""

import numpy as np

from mvplm.data.scenes.shapes import Sprite

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checkered")


def _soft(value: np.ndarray) -> np.ndarray:
    return np.clip(value + np.float32(0.5), 0, 1)


def _to_middle(coordinate: np.ndarray, period: float) -> np.ndarray:
    """Distance in pixels to the middle of the period a coordinate lies in, in [0, period / 2]."""
    phase = coordinate / np.float32(period)
    return np.abs(phase - np.floor(phase) - np.float32(0.5)) * np.float32(period)


def pattern_weight(name: str, sprite: Sprite, *, phase: tuple[float, float]) -> np.ndarray | None:
    """Share (h, w) float32 in [0, 1] of the second colour at every pixel of a sprite; None for plain.

    Args:
        name: one of ``PATTERNS``.
        sprite: the shape it is painted on.
        phase: offset of the pattern along both axes, in periods.
    """
    period = max(6.0, 0.42 * sprite.radius)
    x, y = sprite.x, sprite.y
    if name == "plain":
        return None
    if name == "striped":
        slant = (x + y) * np.float32(0.70710678) + np.float32(phase[0] * period)
        return _soft(np.float32(period * 0.25) - _to_middle(slant, period))
    if name == "dotted":
        across = _to_middle(x + np.float32(phase[0] * period), period)
        down = _to_middle(y + np.float32(phase[1] * period), period)
        return _soft(np.float32(period * 0.31) - np.sqrt(across * across + down * down))
    cell = period * 1.3
    across = _to_middle(x + np.float32(phase[0] * cell), cell) - np.float32(cell * 0.25)
    down = _to_middle(y + np.float32(phase[1] * cell), cell) - np.float32(cell * 0.25)
    return _soft(np.clip(across, -1, 1) * np.clip(down, -1, 1) * 2)
