"""The scenes as a sequence of records, drawn when they are asked for."""

from collections.abc import Mapping, Sequence
from operator import index as as_integer
from typing import Any

import numpy as np

from mvplm.data.scenes import world
from mvplm.data.scenes.layout import Layout
from mvplm.data.scenes.looks import LEAST, MOST
from mvplm.data.scenes.stuff import SIDE
from mvplm.data.scenes.things import HELD_OUT
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.choices import check_choice

ROLES = ("panoptic", "detection", "grounding", "referring", "caption", "all")
VOCABULARIES = ("shapes", "names", "looks")
_STUFF_ROLES = ("panoptic", "all")
_MASK_ROLES = ("panoptic", "referring", "all")


class SceneDataset(Sequence[Record]):
    """``num`` scenes of a split, each a pure function of (split, seed, index); nothing is stored.

    Args:
        split: "train", "val" or "heldout" (about half of its things are colour-shape combinations never seen in the
            other two).
        num: number of scenes.
        seed: another seed gives other scenes.
        role: what a record tells. "panoptic": masks of things and stuff; "detection": boxes of things with
            colour-shape names; "grounding": boxes with a phrase each; "referring": masks of things and expressions;
            "caption": captions only; "all": everything. Every role has captions.
        vocabulary: what labels point into, "shapes", "names" (colour and shape) or "looks" (names with size and
            pattern); None takes the role's own. Roles with stuff add the names of stuff. Names never contain held-out
            combinations outside "heldout".
        size: side of the images in pixels, 96 to 512.
        most_things: no more stand in a scene, 2 to 10. Few make easy scenes to begin with.

    Raises:
        ValueError: unknown split, role or vocabulary; negative numbers; size or number of things out of range.
    """

    def __init__(
        self,
        split: str,
        *,
        num: int,
        seed: int = 0,
        role: str = "all",
        vocabulary: str | None = None,
        size: int = world.SIZE,
        most_things: int = MOST,
    ) -> None:
        self.split = check_choice("split", split, choices=world.SPLITS)
        self.role = check_choice("role", role, choices=ROLES)
        default = "names" if role == "detection" else "shapes"
        self.vocabulary_kind = (
            default if vocabulary is None else check_choice("vocabulary", vocabulary, choices=VOCABULARIES)
        )
        if num < 0 or seed < 0:
            raise ValueError(f"num and seed must not be negative, got num={num}, seed={seed}")
        if not 96 <= size <= SIDE:
            raise ValueError(f"size must be between 96 and {SIDE}, got {size}")
        if not LEAST <= most_things <= MOST:
            raise ValueError(f"most_things must be between {LEAST} and {MOST}, got {most_things}")
        self.num, self.seed, self.size, self.most_things = int(num), int(seed), int(size), int(most_things)
        self.vocabulary = self._vocabulary()

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: Any) -> Any:
        """Record at ``index`` (negative counts from the end); a list of records for a slice."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self.num))]
        key = self._key(index)
        layout = world.make_layout(key)
        annotations: tuple[Annotation, ...] = ()
        if self.role != "caption":
            annotations = self._annotations(key, layout)
        return Record(
            image_id=key.index,
            image=world.make_image(key, layout),
            size=(self.size, self.size),
            source=f"scenes/{self.split}",
            vocabulary=self.vocabulary,
            annotations=annotations,
            expressions=world.make_expressions(key, layout) if self.role in ("referring", "all") else (),
            captions=world.make_captions(key, layout),
        )

    def image_id(self, index: int) -> int:
        """Id of scene ``index``, without drawing it."""
        return self._key(index).index

    @property
    def name_groups(self) -> dict[str, tuple[str, ...]] | None:
        """Names to score apart: "heldout" (never seen in training) and "seen"; None where all names are seen."""
        if self.split != "heldout" or self.vocabulary is None or self.vocabulary_kind == "shapes":
            return None
        things = [n for n, isthing in zip(self.vocabulary.names, self.vocabulary.isthing, strict=True) if isthing]
        return {
            "heldout": tuple(name for name in things if _colour_and_shape(name) in HELD_OUT),
            "seen": tuple(name for name in things if _colour_and_shape(name) not in HELD_OUT),
        }

    def layout(self, index: int) -> Layout:
        """Ground truth of scene ``index``; the first annotations of its record are ``layout.things`` in order."""
        return world.make_layout(self._key(index))

    def _key(self, index: int) -> world.SceneKey:
        place = as_integer(index)
        if not -self.num <= place < self.num:
            raise IndexError(f"scene {place} of {self.num}")
        return world.SceneKey(self.split, self.seed, place % self.num, self.size, self.most_things)

    def _vocabulary(self) -> Vocabulary | None:
        if self.role in ("grounding", "caption"):
            return None
        shapes, names = world.SHAPE_VOCABULARY, world.NAME_VOCABULARY
        things = [name for name, isthing in zip(shapes.names, shapes.isthing, strict=True) if isthing]
        if self.vocabulary_kind != "shapes":
            known = names.names if self.vocabulary_kind == "names" else world.LOOK_VOCABULARY.names
            things = [name for name in known if self.split == "heldout" or _colour_and_shape(name) not in HELD_OUT]
        stuff = [name for name, isthing in zip(shapes.names, shapes.isthing, strict=True) if not isthing]
        stuff = stuff if self.role in _STUFF_ROLES else []
        return Vocabulary((*things, *stuff), (True,) * len(things) + (False,) * len(stuff))

    def _annotations(self, key: world.SceneKey, layout: Layout) -> tuple[Annotation, ...]:
        """Things in painter's order, then (where the role has stuff) the visible regions."""
        phrases: list[str] | list[None] = [None] * len(layout.things)
        if self.role in ("grounding", "all"):
            phrases = world.make_phrases(key, layout)
        with_stuff = self.role in _STUFF_ROLES
        codes: list[Any] = [None] * len(phrases)
        if self.role in _MASK_ROLES:
            codes = _mask_codes(layout, with_stuff=with_stuff)
        annotations = []
        for place, thing in enumerate(layout.things):
            look = thing.look
            name = {"shapes": look.shape, "names": look.name, "looks": look.words}[self.vocabulary_kind]
            annotations.append(
                Annotation(
                    box=thing.box,
                    label=self._label(name),
                    segmentation=codes[place],
                    phrase=phrases[place],
                    id=key.index * 100 + place,
                )
            )
        if with_stuff:
            for place, region in enumerate(layout.background.regions, start=len(layout.things)):
                left, top, width, height = _mask_box(codes[place])
                if width and height:
                    box = (left, top, left + width, top + height)
                    annotations.append(
                        Annotation(
                            box, self._label(region.name), codes[place], isthing=False, id=key.index * 100 + place
                        )
                    )
        return tuple(annotations)

    def _label(self, name: str) -> int | None:
        return None if self.vocabulary is None else self.vocabulary.names.index(name)


def _colour_and_shape(name: str) -> str:
    return " ".join(name.split()[-2:])


def segment_map(layout: Layout) -> np.ndarray:
    """(size, size) uint8 position of the segment at every pixel: things first, then regions; no pixel is void."""
    ground = layout.background.labels + np.uint8(len(layout.things))
    return np.where(layout.front > 0, layout.front - np.uint8(1), ground)


def _mask_codes(layout: Layout, *, with_stuff: bool) -> list[Any]:
    """COCO RLE of the visible mask of every thing (and region), JSON-ready, encoded in one call."""
    from pycocotools import mask as coco

    segments = np.asfortranarray(segment_map(layout))
    count = len(layout.things) + (len(layout.background.regions) if with_stuff else 0)
    masks = np.empty((*segments.shape, count), np.uint8, order="F")
    for place in range(count):
        np.equal(segments, place, out=masks[:, :, place].view(bool))
    codes = coco.encode(masks)
    return [{"size": list(segments.shape), "counts": code["counts"].decode("ascii")} for code in codes]


def _mask_box(code: Mapping[str, Any]) -> list[float]:
    """[x, y, width, height] in pixels around an RLE, zeros when it is empty."""
    from pycocotools import mask as coco

    return coco.toBbox({"size": code["size"], "counts": code["counts"].encode("ascii")}).tolist()
