"""Textures of the background: a bank of gray fields drawn once per process, coloured anew for every image."""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 512
VARIANTS = 4

Ramp = tuple[tuple[float, tuple[int, int, int]], ...]

_RAMPS: dict[str, Ramp] = {
    "sky": ((0, (88, 152, 226)), (150, (148, 196, 240)), (205, (226, 236, 246)), (255, (250, 250, 250))),
    "grass": ((0, (22, 74, 20)), (120, (66, 128, 40)), (255, (150, 190, 82))),
    "sand": ((0, (166, 132, 84)), (110, (216, 188, 136)), (255, (240, 220, 176))),
    "water": ((0, (10, 52, 88)), (140, (28, 108, 136)), (215, (88, 164, 178)), (255, (214, 238, 238))),
    "brick": ((0, (190, 182, 172)), (40, (184, 174, 164)), (56, (112, 46, 36)), (255, (190, 98, 74))),
    "wood": ((0, (48, 28, 16)), (60, (96, 60, 32)), (255, (184, 132, 82))),
}
STUFF: tuple[str, ...] = tuple(_RAMPS)


@dataclass(frozen=True)
class Texture:
    """How one region is painted: which field of the bank, where it is cut, mirrored or not, and its colours.

    ``ramp`` is (256, 3) float32; ``tilt`` is (dy, dx), the change of brightness from one end of the image to the other.
    """

    name: str
    variant: int
    top: int
    left: int
    mirror: bool
    ramp: np.ndarray
    tilt: tuple[float, float]


def draw_texture(name: str, rng: np.random.Generator, *, size: int) -> Texture:
    """Choose the random properties of a region of stuff for an image of ``size`` pixels."""
    variant = int(rng.integers(VARIANTS))
    top, left = (int(value) for value in rng.integers(0, SIDE - size + 1, 2))
    gain = 1 + (rng.random() * 2 - 1) * 0.12
    shift = (rng.random(3) * 2 - 1) * 12
    stops = [stop for stop, _ in _RAMPS[name]]
    colours = np.asarray([colour for _, colour in _RAMPS[name]], np.float64)
    levels = np.arange(256.0)
    ramp = np.stack([np.interp(levels, stops, colours[:, channel]) for channel in range(3)], 1)
    ramp = np.clip(ramp * gain + shift, 0, 255).astype(np.float32)
    tilt = (rng.random() * 0.5 + 0.2, 0.0) if name == "sky" else tuple((rng.random(2) - 0.5) * 0.24)
    return Texture(name, variant, top, left, bool(rng.random() < 0.5), ramp, (float(tilt[0]), float(tilt[1])))


def texture_field(texture: Texture, size: int) -> np.ndarray:
    """Levels (size, size) uint8 of a texture, an index into its ramp."""
    tile = texture_bank(texture.name)[texture.variant, texture.top : texture.top + size]
    tile = tile[:, texture.left : texture.left + size]
    return tile[:, ::-1] if texture.mirror else tile


@cache
def texture_bank(name: str) -> np.ndarray:
    """The fields (VARIANTS, SIDE, SIDE) uint8 of a texture; drawn at the first call, the same in every process."""
    draw = {"sky": _sky, "grass": _grass, "sand": _sand, "water": _water, "brick": _brick, "wood": _wood}[name]
    fields = []
    for variant in range(VARIANTS):
        field = draw(np.random.default_rng([STUFF.index(name), variant, 77]), variant)
        fields.append(np.clip(field * 255, 0, 255).astype(np.uint8))
    bank = np.stack(fields)
    bank.setflags(write=False)
    return bank


def _smooth(rng: np.random.Generator, cells: tuple[int, int]) -> np.ndarray:
    """Smooth noise (SIDE, SIDE) in [0, 1] from a lattice of rows x columns ``cells``."""
    rows, columns = cells
    lattice = rng.random((rows + 1, columns + 1))

    def spread(values: np.ndarray, count: int) -> np.ndarray:
        position = np.arange(SIDE) * (count / SIDE)
        low = position.astype(np.int64)
        part = position - low
        part = (part * part * (3 - 2 * part))[:, None]
        return values[low] * (1 - part) + values[low + 1] * part

    return spread(spread(lattice, rows).T, columns).T


def _wave(phase: np.ndarray) -> np.ndarray:
    """Triangle wave in [0, 1] with period 1."""
    return np.abs((phase - np.floor(phase)) * 2 - 1)


def _sky(rng: np.random.Generator, variant: int) -> np.ndarray:
    cells = 6 + variant
    cloud = 0.55 * _smooth(rng, (cells * 2, cells)) + 0.3 * _smooth(rng, (cells * 4, cells * 2))
    cloud = cloud + 0.15 * _smooth(rng, (cells * 8, cells * 5))
    return 0.18 + np.clip((cloud - 0.5) * 4.5, 0, 0.8)


def _grass(rng: np.random.Generator, variant: int) -> np.ndarray:
    noise = rng.random((SIDE + 16, SIDE))
    length = 6 + variant
    lean = (-1, 0, 1)
    blades = np.zeros((SIDE, SIDE))
    for step in range(length):
        blades += np.roll(noise[step : step + SIDE], lean[variant % 3] * (step // 3), axis=1)
    blades = (blades / length - 0.5) * 2.2
    return 0.42 + blades + 0.34 * (_smooth(rng, (14, 14)) - 0.5)


def _sand(rng: np.random.Generator, variant: int) -> np.ndarray:
    dunes = _wave(_smooth(rng, (5, 4)) * (5 + variant) + np.arange(SIDE)[:, None] / 60.0)
    grain = rng.random((SIDE, SIDE))
    dark = (rng.random((SIDE, SIDE)) < 0.03) * 0.4
    return 0.46 + 0.16 * dunes + 0.3 * (grain - 0.5) + 0.15 * (_smooth(rng, (9, 9)) - 0.5) - dark


def _water(rng: np.random.Generator, variant: int) -> np.ndarray:
    rows = np.arange(SIDE)[:, None]
    sway = _smooth(rng, (12, 9)) * (1.6 + 0.3 * variant)
    coarse = _wave(rows / (15.0 + 2 * variant) + sway)
    fine = _wave(rows / 7.3 + 3.0 * _smooth(rng, (20, 18)))
    crest = np.clip((coarse - 0.86) * 5, 0, 1) * (_smooth(rng, (40, 24)) > 0.5)
    return 0.2 + 0.38 * coarse + 0.14 * fine + 0.4 * crest


def _brick(rng: np.random.Generator, variant: int) -> np.ndarray:
    height, width = (12, 14, 16, 19)[variant], (26, 30, 36, 40)[variant]
    rows, columns = np.arange(SIDE)[:, None], np.arange(SIDE)[None, :]
    course = rows // height
    shifted = columns + (course % 2) * (width // 2)
    tint = rng.random((SIDE // height + 2, SIDE // width + 3))[course, shifted // width]
    mortar = (rows % height < 2) | (shifted % width < 2)
    clay = 0.34 + 0.42 * tint + 0.2 * (rng.random((SIDE, SIDE)) - 0.5) + 0.1 * _smooth(rng, (60, 60))
    return np.where(mortar, 0.04 + 0.1 * rng.random((SIDE, SIDE)), np.clip(clay, 0.24, 1))


def _wood(rng: np.random.Generator, variant: int) -> np.ndarray:
    plank = (30, 38, 46, 34)[variant]
    columns = np.arange(SIDE)[None, :]
    index = columns // plank
    tint = rng.random(SIDE // plank + 1)[index]
    bend = _smooth(rng, (5, 40)) * 3.0
    grain = _wave(columns / 6.0 + bend + 7.0 * tint)
    fibre = np.repeat(rng.random((SIDE // 16, SIDE)), 16, axis=0) - 0.5
    field = 0.42 + 0.3 * (tint - 0.5) + 0.26 * grain + 0.16 * fibre
    return np.where(columns % plank < 2, 0.02, field)
