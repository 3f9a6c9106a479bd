"""The world as a whole: its version and hash, its vocabularies, and the making of one scene."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from mvplm.data.scenes.captions import draw_captions
from mvplm.data.scenes.draw import draw_image
from mvplm.data.scenes.expressions import draw_expressions
from mvplm.data.scenes.language import Speaker, thing_phrases
from mvplm.data.scenes.layout import Layout, draw_layout
from mvplm.data.scenes.looks import MOST
from mvplm.data.scenes.palette import COLOURS
from mvplm.data.scenes.shapes import SHAPES
from mvplm.data.scenes.stuff import STUFF
from mvplm.data.scenes.things import CHOICES, HELD_OUT
from mvplm.structures import Expression, Vocabulary

WORLD_VERSION = "1"
SIZE = 192
SPLITS = ("train", "val", "heldout")
_SPLIT_KEYS = {"train": 1, "val": 2, "heldout": 3}
_HASHED = (("train", 0, 8), ("val", 1, 4), ("heldout", 2, 4))
_TEXT_SCENES = 260

SHAPE_VOCABULARY = Vocabulary((*SHAPES, *STUFF), (True,) * len(SHAPES) + (False,) * len(STUFF))
_SIZES_SAID = ("", *(f"{size} " for size in CHOICES["size"] if size != "medium"))
LOOK_VOCABULARY = Vocabulary(
    tuple(
        f"{size}{pattern} {colour} {shape}"
        for size, pattern, colour, shape in product(_SIZES_SAID, CHOICES["pattern"], COLOURS, SHAPES)
    )
)
NAME_VOCABULARY = Vocabulary(tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES))


@dataclass(frozen=True)
class SceneKey:
    """Which scene: split, seed of the data set, number of the image, side in pixels, most things in it."""

    split: str
    seed: int
    index: int
    size: int = SIZE
    most_things: int = MOST

    @property
    def may_hold_held_out(self) -> bool:
        """True in the split that shows and says held-out combinations."""
        return self.split == "heldout"


def make_layout(key: SceneKey) -> Layout:
    """Background partition, things and their places of a scene."""
    share = 0.5 if key.may_hold_held_out else 0.0
    return draw_layout(_random(key, "layout"), size=key.size, held_out_share=share, most_things=key.most_things)


def make_image(key: SceneKey, layout: Layout) -> np.ndarray:
    """Picture (size, size, 3) RGB uint8 of a scene's layout."""
    return draw_image(layout, np.random.default_rng([_SPLIT_KEYS[key.split], key.seed, key.index]))


def make_captions(key: SceneKey, layout: Layout) -> tuple[str, ...]:
    """The four captions of a scene."""
    return draw_captions(layout, _speaker(key, layout, purpose="captions"))


def make_phrases(key: SceneKey, layout: Layout) -> list[str]:
    """One phrase for each thing of a scene."""
    return thing_phrases(_speaker(key, layout, purpose="phrases"))


def make_expressions(key: SceneKey, layout: Layout) -> tuple[Expression, ...]:
    """Referring expressions of a scene; targets are positions in ``layout.things``."""
    speaker = _speaker(key, layout, purpose="expressions")
    return draw_expressions(speaker, size=key.size, first_id=key.index * 10)


def scene_texts() -> Iterator[str]:
    """A fixed stream of a few thousand texts of the training split (names, captions, phrases, expressions)."""
    yield from SHAPE_VOCABULARY.names
    yield from (name for name in NAME_VOCABULARY.names if name not in HELD_OUT)
    for index in range(_TEXT_SCENES):
        key = SceneKey("train", 20_000, index)
        layout = make_layout(key)
        yield from make_captions(key, layout)
        yield from make_phrases(key, layout)
        yield from (expression.text for expression in make_expressions(key, layout))


@cache
def world_hash() -> str:
    """SHA-256 (hex) over some scenes of every split: pixels, visible things, texts. Computed once per process."""
    digest = hashlib.sha256(f"scenes {WORLD_VERSION}".encode())
    for split, seed, count in _HASHED:
        for index in range(count):
            key = SceneKey(split, seed, index)
            layout = make_layout(key)
            digest.update(make_image(key, layout).tobytes())
            digest.update(layout.front.tobytes())
            digest.update(layout.background.labels.tobytes())
            words = [(thing.look, thing.box) for thing in layout.things]
            digest.update(repr((words, layout.background.regions)).encode())
            texts = (make_captions(key, layout), make_phrases(key, layout), make_expressions(key, layout))
            digest.update(repr(texts).encode())
    return digest.hexdigest()


def _random(key: SceneKey, purpose: str) -> random.Random:
    return random.Random(f"{purpose}-{key.split}-{key.seed}-{key.index}")


def _speaker(key: SceneKey, layout: Layout, *, purpose: str) -> Speaker:
    return Speaker(layout.things, _random(key, purpose), key.may_hold_held_out)
