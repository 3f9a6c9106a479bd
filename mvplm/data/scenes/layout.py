"""Where things stand: painter's order, free places, and deliberate partial occlusion, all checked on exact pixels."""

import math
import random
from dataclasses import dataclass, replace

import numpy as np

from mvplm.data.scenes.looks import MOST, draft_looks
from mvplm.data.scenes.regions import Background, draw_background
from mvplm.data.scenes.shapes import SHAPES, Sprite, radius_for, sprite
from mvplm.data.scenes.things import SIZES, Look, Thing

OVERLAP = 0.25
HIDDEN_RANGE = (0.08, 0.55)
_BUDGET = 0.52
_LARGEST_RADIUS = 0.44


@dataclass(frozen=True)
class Placed:
    """A sprite at its place: its top-left pixel is (top, left)."""

    look: Look
    sprite: Sprite
    top: int
    left: int

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the image the sprite covers."""
        height, width = self.sprite.inside.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)


@dataclass(frozen=True)
class Layout:
    """Everything about a scene but its pixels.

    Attributes:
        size: side of the image in pixels.
        background: partition into regions.
        placed: sprites in painter's order, one per thing.
        things: ground truth, same order.
        covers: pairs (front, back) of positions in ``things`` where the front one hides a part of the back one.
        front: (size, size) uint8, 1 + position of the thing visible at a pixel, 0 where the background is.
    """

    size: int
    background: Background
    placed: tuple[Placed, ...]
    things: tuple[Thing, ...]
    covers: tuple[tuple[int, int], ...]
    front: np.ndarray


class _Board:
    """The scene while it is being filled."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.front = np.zeros((size, size), np.uint8)
        self.placed: list[Placed] = []
        self.visible: list[int] = []
        self.covers: list[tuple[int, int]] = []
        self.filled = 0

    def counts(self, candidate: Placed) -> np.ndarray:
        """Pixels of each thing (index 1 + position) that the candidate would hide."""
        return np.bincount(self.front[candidate.window][candidate.sprite.inside], minlength=len(self.placed) + 1)

    def is_free(self, candidate: Placed) -> bool:
        """True when the candidate and its margin touch nothing; pixels are looked at only where extents meet."""
        rows, columns = candidate.window
        for other in self.placed:
            height, width = other.sprite.inside.shape
            if (
                other.top < rows.stop
                and rows.start < other.top + height
                and other.left < columns.stop
                and columns.start < other.left + width
            ):
                return not bool((self.front[rows, columns] * candidate.sprite.near).any())
        return True

    def is_legal(self, candidate: Placed) -> bool:
        """True when the candidate hides something, and leaves each thing whole or hidden within ``HIDDEN_RANGE``."""
        counts = self.counts(candidate).tolist()[1:]
        for other, visible, lost in zip(self.placed, self.visible, counts, strict=True):
            if lost and not HIDDEN_RANGE[0] <= 1 - (visible - lost) / other.sprite.area <= HIDDEN_RANGE[1]:
                return False
        return any(counts)

    def put(self, candidate: Placed) -> None:
        for index, lost in enumerate(self.counts(candidate).tolist()[1:]):
            if lost:
                self.visible[index] -= lost
                self.covers.append((len(self.placed), index))
        self.front[candidate.window][candidate.sprite.inside] = len(self.placed) + 1
        self.placed.append(candidate)
        self.visible.append(candidate.sprite.area)
        self.filled += candidate.sprite.area


def draw_layout(rng: random.Random, *, size: int, held_out_share: float, most_things: int = MOST) -> Layout:
    """A random layout with at least two things.

    Args:
        rng: the only source of randomness.
        size: side of the image.
        held_out_share: expected share of things whose colour and shape are a held-out combination.
        most_things: no more stand in it.
    """
    background = draw_background(rng, size)
    while True:
        board = _Board(size)
        for look in draft_looks(rng, held_out_share=held_out_share, most=most_things):
            spot = _choose_spot(board, look, rng=rng)
            if spot is not None:
                board.put(spot)
        if len(board.placed) >= 2:
            break
    things = tuple(_thing(board, index) for index in range(len(board.placed)))
    return Layout(size, background, tuple(board.placed), things, tuple(board.covers), board.front)


def _choose_spot(board: _Board, look: Look, *, rng: random.Random) -> Placed | None:
    """A place for a thing, made small where there is little room; None when there is no room at all."""
    pixels = board.size * board.size
    look = _beside_twins(look, board)
    if board.filled / pixels + SIZES[look.size][0] > _BUDGET:
        look = _beside_twins(replace(look, size="small"), board)
    for attempt in (look, _beside_twins(replace(look, size="small"), board)):
        figure = _make_sprite(attempt, rng, size=board.size, room=_BUDGET - board.filled / pixels)
        whole = [index for index, seen in enumerate(board.visible) if seen == board.placed[index].sprite.area]
        spot = None
        if whole and rng.random() < OVERLAP:
            spot = _overlapping(board, attempt, figure=figure, victim=board.placed[rng.choice(whole)], rng=rng)
        spot = spot or _free(board, attempt, figure=figure, rng=rng)
        if spot is not None or attempt.size == "small":
            return spot
    return None


def _beside_twins(look: Look, board: _Board) -> Look:
    """Equal things are equally large or clearly not: a medium one never stands beside its small or large twin."""
    for other in board.placed:
        if replace(look, size=other.look.size) == other.look and "medium" in (look.size, other.look.size):
            return other.look
    return look


def _make_sprite(look: Look, rng: random.Random, *, size: int, room: float) -> Sprite:
    low, high = SIZES[look.size]
    high = max(min(high, room), low * 1.05)
    share = low * (high / low) ** rng.random()
    radius = min(radius_for(look.shape, share * size * size), _LARGEST_RADIUS * size)
    tilt = SHAPES[look.shape].tilt
    angle, shift = rng.uniform(-tilt, tilt), (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5))
    return sprite(look.shape, radius, angle=angle, shift=shift)


def _free(board: _Board, look: Look, *, figure: Sprite, rng: random.Random) -> Placed | None:
    height, width = figure.inside.shape
    for _ in range(30):
        spot = Placed(look, figure, rng.randint(0, board.size - height), rng.randint(0, board.size - width))
        if board.is_free(spot):
            return spot
    return None


def _overlapping(board: _Board, look: Look, *, figure: Sprite, victim: Placed, rng: random.Random) -> Placed | None:
    height, width = figure.inside.shape
    rows, columns = victim.window
    reach = victim.sprite.radius + figure.radius
    for _ in range(14):
        angle, distance = rng.random() * 2 * math.pi, reach * rng.uniform(0.3, 0.9)
        top = round((rows.start + rows.stop - height) / 2 + distance * math.sin(angle))
        left = round((columns.start + columns.stop - width) / 2 + distance * math.cos(angle))
        if 0 <= top <= board.size - height and 0 <= left <= board.size - width:
            spot = Placed(look, figure, top, left)
            if board.is_legal(spot):
                return spot
    return None


def _thing(board: _Board, index: int) -> Thing:
    placed = board.placed[index]
    mask = board.front[placed.window] == index + 1
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (
        float(placed.left + columns[0]),
        float(placed.top + rows[0]),
        float(placed.left + columns[-1] + 1),
        float(placed.top + rows[-1] + 1),
    )
    return Thing(placed.look, placed.sprite.area, board.visible[index], box)
