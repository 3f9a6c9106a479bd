"""Colours of things: ten names a person tells apart at a glance, and the darker partner used by patterns."""

import numpy as np

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (212, 36, 40),
    "orange": (245, 134, 22),
    "yellow": (248, 220, 46),
    "green": (38, 158, 62),
    "cyan": (64, 214, 222),
    "blue": (36, 76, 214),
    "purple": (132, 52, 176),
    "pink": (248, 142, 194),
    "white": (244, 244, 242),
    "black": (30, 30, 34),
}

_JITTER = 9.0


def jittered(name: str, rng: np.random.Generator) -> np.ndarray:
    """The colour ``name`` with a small random change: (3,) float32 in [0, 255]."""
    base = np.asarray(COLOURS[name], np.float32)
    shift = (rng.random(3) * 2 - 1) * _JITTER
    return np.clip(base + shift, 0, 255).astype(np.float32)


def partner(colour: np.ndarray, name: str) -> np.ndarray:
    """Second colour of a pattern, (3,) float32: darker, or lighter for black, so that the name stays true."""
    if name == "black":
        return colour + np.float32(96)
    return colour * np.float32(0.62 if name == "white" else 0.5)


def edge(colour: np.ndarray, name: str) -> np.ndarray:
    """Colour of the thin outline, (3,) float32."""
    if name == "black":
        return colour + np.float32(60)
    return colour * np.float32(0.58)
