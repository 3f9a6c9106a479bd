"""Captioners that need no download: stand-ins for the vision-language models of the paper, to try the pipeline with.

One is a real but very small vision-language model, the shipped one, which knows the drawn world and nothing else. The
others look at the pixels with rules: they know no object, only colours, sizes and places. ``unsure`` is bad on purpose,
so that refinement has something to do. Nobody should label photos with any of them.

Example: mvplm label --dataset scenes/train -o num=100 --captioner mvplm.label.standins:colours --out outputs/captions
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mvplm.label.colours import colour_masks, to_hsv
from mvplm.structures import Record

if TYPE_CHECKING:
    from PIL.Image import Image

SHIPPED = "mvplm-tiny-scenes"
_LEAST_SHARE = 0.004
_MOST_SHARE = 0.3
_MOST = 4
_CLEAR = 0.12
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Patch:
    """A connected piece of one colour: its name, its centre and its size as fractions of the picture."""

    colour: str
    x: float
    y: float
    share: float


def find_patches(image: "Image") -> list[Patch]:
    """The pieces of one certain colour that are neither specks nor background, largest first."""
    from scipy.ndimage import center_of_mass, label

    hsv = to_hsv(np.asarray(image.convert("RGB")))
    if hsv is None:
        return []
    patches = []
    for colour, mask in colour_masks(hsv).items():
        pieces, _ = label(mask)
        shares = np.bincount(pieces.ravel())[1:] / mask.size
        for piece in np.flatnonzero((shares >= _LEAST_SHARE) & (shares <= _MOST_SHARE)):
            y, x = center_of_mass(pieces == piece + 1)
            patches.append(Patch(colour, x / mask.shape[1], y / mask.shape[0], float(shares[piece])))
    return sorted(patches, key=lambda patch: -patch.share)


def colours(images: Sequence["Image"]) -> list[str]:
    """Colours and how often each is seen: "A picture of two red things and a blue thing. The largest is red."."""
    return [_colours(find_patches(image)) for image in images]


def places(images: Sequence["Image"]) -> list[str]:
    """Where coloured pieces stand to each other: "The red thing is left of the blue thing."."""
    return [_places(find_patches(image)[:_MOST]) for image in images]


def unsure(images: Sequence["Image"]) -> list[str]:
    """Bad on purpose: guesses, repeats itself or says next to nothing, each about equally often."""
    return [_unsure(image) for image in images]


class ShippedModel:
    """The shipped model, given a picture and nothing to look for. It has seen drawn scenes only."""

    prompt = "(none: the picture alone)"

    def __init__(self) -> None:
        from mvplm.perceiver import load

        self._perceiver = load(SHIPPED)
        self._mapper = self._perceiver.mapper("caption", "caption")

    def __call__(self, images: Sequence["Image"]) -> list[str]:
        """One caption per picture, decoded greedily; "" where it wrote none."""
        perceiver = self._perceiver
        arrays = [np.asarray(image.convert("RGB")) for image in images]
        records = [Record(place, array, array.shape[:2]) for place, array in enumerate(arrays)]
        batch = perceiver.collate([self._mapper(record) for record in records]).to(perceiver.device)
        written = perceiver.model.generate(batch, max_new_tokens=perceiver.config.vocab.response_room)
        return [perceiver.tokenizer.decode(ids).strip() for ids in written.caption_ids]


def _join(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _colours(patches: Sequence[Patch]) -> str:
    if not patches:
        return "A picture without any clear colour in it."
    names = [patch.colour for patch in patches]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    groups = [
        f"{'an' if name[0] in 'aeiou' else 'a'} {name} thing"
        if number == 1
        else f"{_NUMBERS[number] if number < len(_NUMBERS) else 'many'} {name} things"
        for name, number in list(counts.items())[:_MOST]
    ]
    return f"A picture of {_join(groups)}. The largest is {names[0]}."


def _places(patches: Sequence[Patch]) -> str:
    sentences = []
    for first, second in zip(patches, patches[1:], strict=False):
        across, down = first.x - second.x, first.y - second.y
        if first.colour == second.colour or max(abs(across), abs(down)) < _CLEAR:
            continue
        beside = "left of" if across < 0 else "right of"
        upright = "above" if down < 0 else "below"
        words = beside if abs(across) > abs(down) else upright
        sentences.append(f"The {first.colour} thing is {words} the {second.colour} thing.")
    return " ".join(sentences) or _colours(patches)


def _unsure(image: "Image") -> str:
    patches = find_patches(image)
    name = patches[0].colour if patches else "gray"
    habit = zlib.crc32(image.tobytes()) % 4
    if habit == 0:
        return f"This might be a {name} thing, perhaps on the ground. It seems to be outside."
    if habit == 1:
        return " ".join([f"{name} thing"] * 8)
    if habit == 2:
        return "A picture."
    return f"{_colours(patches)} It was probably drawn on a sunny day."
