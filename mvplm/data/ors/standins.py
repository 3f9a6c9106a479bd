"""Stand-ins for every role that need no download, and shards drawn for them: to try the pipeline, never for photos.

A drawn picture holds shapes of a few plain colours, and each colour means a noun. The stand-ins look at nothing but
colours; they make mistakes on purpose, decided by the pixels, so that every step has something to reject.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from mvplm.data.ors.callables import VERDICTS
from mvplm.data.ors.instances import Box
from mvplm.structures.choices import check_choice
from mvplm.structures.masks import tight_box

COLOURS = {
    "dog": (220, 40, 40),
    "car": (40, 190, 60),
    "cup": (60, 60, 230),
    "tent": (230, 210, 40),
    "kite": (200, 60, 210),
}
"""Noun -> RGB of its shapes."""
BACKGROUND = (128, 128, 128)
_TOLERANCE = 60
_LEAST = 40
_ALSO = ("Dogs", "sky", "zorgle", "happiness", "animal")
_SQUARE = np.ones((3, 3), bool)


class Standin:
    """A stand-in: knows what colour each noun has.

    Args:
        seed: of its mistakes.
    """

    version = "1"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.name = f"drawn-{type(self).__name__.lower()}"
        self.version = f"1-{seed}"

    def chance(self, *parts: Any) -> float:
        """A number in [0, 1) that depends on the seed and the parts alone."""
        return zlib.crc32(repr((self.seed, type(self).__name__, *parts)).encode()) / 2**32


def pieces(image: np.ndarray, label: str) -> list[np.ndarray]:
    """Connected masks (H, W) of a noun's colour, from top left; "animal" means dogs here."""
    from scipy.ndimage import label as connected

    colour = COLOURS.get({"animal": "dog"}.get(label, label))
    if colour is None:
        return []
    near = np.abs(image.astype(np.int16) - np.array(colour, np.int16)).max(2) < _TOLERANCE
    parts, count = connected(near, _SQUARE)
    masks = [parts == number for number in range(1, count + 1)]
    return [mask for mask in masks if np.count_nonzero(mask) >= _LEAST]


def _frame(mask: np.ndarray) -> Box:
    found = tight_box(mask)
    assert found is not None
    x1, y1, x2, y2 = found.tolist()
    return (x1, y1, x2, y2)


class Tagger(Standin):
    """Names the nouns that are seen, and a few words that are no things."""

    def __call__(self, image: np.ndarray) -> list[tuple[str, float]]:
        """See the role."""
        return [(noun, 0.9) for noun in COLOURS if pieces(image, noun)] + [(word, 0.5) for word in _ALSO]


class Grounder(Standin):
    """Boxes of the pieces, with scores by chance; a low one, or a second and narrower box, now and then."""

    def __call__(self, image: np.ndarray, label: str) -> list[tuple[Box, float]]:
        """See the role."""
        boxes = []
        for x1, y1, x2, y2 in (_frame(mask) for mask in pieces(image, label)):
            boxes.append((x1, y1, x2, y2))
            chance = self.chance(x1, y1, x2, y2)
            if chance < 0.3:
                boxes.append((x1, y1, x1 + (x2 - x1) * (0.9 if chance < 0.15 else 0.6), y2))
        return [(box, round(0.25 + 0.75 * self.chance(label, box), 4)) for box in boxes]


class Boxer(Standin):
    """The same boxes; now and then only half of one."""

    def __call__(self, image: np.ndarray, label: str) -> list[Box]:
        """See the role."""
        boxes = [_frame(mask) for mask in pieces(image, label)]
        return [self._shortened(box) if self.chance(box) < 0.1 else box for box in boxes]

    @staticmethod
    def _shortened(box: Box) -> Box:
        x1, y1, x2, y2 = box
        return (x1, y1, x1 + (x2 - x1) / 3, y2)


class Segmenter(Standin):
    """The most frequent of the colours inside a box; now and then nothing."""

    def __call__(self, image: np.ndarray, box: Box) -> np.ndarray:
        """See the role."""
        x1, y1, x2, y2 = (int(value) for value in box)
        mask = np.zeros(image.shape[:2], bool)
        if self.chance(box) < 0.05:
            return mask
        inside = image[y1:y2, x1:x2]
        pixels = [sum(map(np.count_nonzero, pieces(inside, noun))) for noun in COLOURS]
        for piece in pieces(inside, list(COLOURS)[int(np.argmax(pixels))]):
            mask[y1:y2, x1:x2] |= piece
        return mask


class Verifier(Standin):
    """Says no to each question now and then."""

    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, label: str) -> dict[str, Any]:
        """See the role."""
        crc = zlib.crc32(overlay.tobytes())
        verdict: dict[str, Any] = {name: self.chance(crc, name) > 0.04 for name in VERDICTS}
        return {**verdict, "reason": f"looked at the {label}"}


class Captioner(Standin):
    """Counts."""

    def __call__(self, image: np.ndarray, label: str, *, instances: Sequence[Box]) -> str:
        """See the role."""
        return f'{len(instances)} times the word "{label}"'


class Describer(Standin):
    """Tells where an object is; now and then something that cannot be used."""

    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, box: Box, label: str) -> str:
        """See the role."""
        height, width = image.shape[:2]
        x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
        chance = self.chance(label, box)
        if chance < 0.05:
            return f"the {label}"
        if chance < 0.1:
            return f"the highlighted {label} of the picture"
        side = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "middle"
        return f"the <b>{label}</b> on the {side} at the {'top' if y < 0.5 else 'bottom'} of the picture"


class Regrounder(Standin):
    """Takes the sentence of the describer apart again."""

    def __call__(self, image: np.ndarray, text: str) -> Box | None:
        """See the role."""
        height, width = image.shape[:2]
        label = next((noun for noun in COLOURS if f"{noun}" in text), "")
        for mask in pieces(image, label):
            box = _frame(mask)
            x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
            side = "left" if x < 1 / 3 else "right" if x > 2 / 3 else "middle"
            if f"the {side} at the {'top' if y < 0.5 else 'bottom'}" in text:
                return box if self.chance(box) > 0.1 else (box[0], box[1], box[0] + (box[2] - box[0]) / 2, box[3])
        return None


_STANDINS = (Tagger, Grounder, Boxer, Segmenter, Verifier, Captioner, Describer, Regrounder)
STANDINS: dict[str, type[Standin]] = {kind.__name__.lower(): kind for kind in _STANDINS}
"""Role -> stand-in."""


def make_standin(role: str, *, seed: int = 0) -> Standin:
    """The stand-in of a role. Raises ValueError for an unknown role."""
    return STANDINS[check_choice("role", role, choices=STANDINS)](seed)
