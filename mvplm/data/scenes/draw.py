"""Painting a layout: textured background, then shaded, patterned, anti-aliased things."""

import numpy as np

from mvplm.data.scenes.layout import Layout, Placed
from mvplm.data.scenes.palette import edge, jittered, partner
from mvplm.data.scenes.patterns import pattern_weight
from mvplm.data.scenes.stuff import Texture, draw_texture, texture_field

_OUTLINE = 1.3


def draw_image(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """RGB uint8 (size, size, 3) picture of a layout; ``rng`` decides colours, textures, light and noise."""
    canvas = _paint_background(layout, rng)
    angle = rng.integers(8)
    light = np.asarray(((1, 0), (0.7, 0.7), (0, 1), (-0.7, 0.7), (-1, 0), (-0.7, -0.7), (0, -1), (0.7, -0.7)))[angle]
    for placed in layout.placed:
        under = canvas[placed.window]
        canvas[placed.window] = _paint_thing(under, placed, light=light.astype(np.float32), rng=rng)
    return np.clip(canvas + np.float32(0.5), 0, 255).astype(np.uint8)


def _paint_background(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    size, labels = layout.size, layout.background.labels
    textures = [draw_texture(region.name, rng, size=size) for region in layout.background.regions]
    levels = texture_field(textures[0], size)
    shade = _tilt(textures[0], size)
    for index, texture in enumerate(textures[1:], start=1):
        here = labels == index
        levels = np.where(here, texture_field(texture, size), levels)
        shade = np.where(here, _tilt(texture, size), shade)
    ramps = np.concatenate([texture.ramp for texture in textures])
    flat = labels.astype(np.int32) * 256 + levels
    return np.take(ramps, flat, axis=0) * shade[:, :, None]


def _tilt(texture: Texture, size: int) -> np.ndarray:
    axis = (np.arange(size, dtype=np.float32) / np.float32(size)) - np.float32(0.5)
    down, across = (np.float32(value) for value in texture.tilt)
    return np.float32(1) + down * axis[:, None] + across * axis[None, :]


def _paint_thing(under: np.ndarray, placed: Placed, *, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The window (h, w, 3) float32 of one thing, blended over what lies ``under`` it."""
    figure, look = placed.sprite, placed.look
    base = jittered(look.colour, rng)
    phase = rng.random(2)
    strength = np.float32(0.1 + 0.12 * rng.random()) / np.float32(figure.radius)
    height, width = figure.distance.shape
    down = (np.arange(height, dtype=np.float32) - np.float32(height / 2)) * light[1]
    across = (np.arange(width, dtype=np.float32) - np.float32(width / 2)) * light[0]
    shade = np.float32(1) - strength * (down[:, None] + across[None, :])
    second = pattern_weight(look.pattern, figure, phase=(float(phase[0]), float(phase[1])))
    if second is None:
        colour = base * shade[:, :, None]
    else:
        colour = (base + second[:, :, None] * (partner(base, look.colour) - base)) * shade[:, :, None]
    rim = np.clip(figure.distance + np.float32(_OUTLINE + 0.5), 0, 1)[:, :, None]
    colour += rim * (edge(base, look.colour) - colour)
    cover = np.clip(np.float32(0.5) - figure.distance, 0, 1)[:, :, None]
    return under + cover * (np.clip(colour, 0, 255) - under)
