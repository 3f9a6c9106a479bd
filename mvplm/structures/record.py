"""A record: one image of a dataset with everything that is known about it, before any transformation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.structures.vocabulary import Vocabulary


@dataclass(frozen=True)
class Annotation:
    """One object or stuff region.

    Attributes:
        box: (x1, y1, x2, y2) XYXY_ABS in pixels of the original image.
        label: index into the record's vocabulary, or None for phrase-only data.
        segmentation: COCO RLE mapping, polygons, or None when only the box is known.
        isthing: countable object (True) or stuff (False).
        iscrowd: a crowd region; skipped in training, ignored in evaluation.
        phrase: words for this very object ("the striped red star"), used by phrase grounding; None when there are none.
        id: annotation id of the dataset.
        area: pixels of the object as the dataset counts them, which decide its size in evaluation; None where unknown.
            Annotations that differ in it alone are equal.
    """

    box: tuple[float, float, float, float]
    label: int | None = None
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]] | None = None
    isthing: bool = True
    iscrowd: bool = False
    phrase: str | None = None
    id: int | None = None
    area: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.box) != 4:
            raise ValueError(f"an annotation's box needs 4 numbers, got {self.box}")
        if self.box[2] < self.box[0] or self.box[3] < self.box[1]:
            raise ValueError(f"an annotation's box must be x1, y1, x2, y2 with x2 >= x1 and y2 >= y1, got {self.box}")


@dataclass(frozen=True)
class Expression:
    """A referring expression.

    Attributes:
        text: the expression.
        targets: positions in the record's annotations; empty means that nothing in the image fits.
        kind: how the target is told apart ("attribute", "relation", "multiple", "none" or ""); only for reports.
        id: expression id of the dataset.
    """

    text: str
    targets: tuple[int, ...]
    kind: str = ""
    id: int | None = None


@dataclass(frozen=True)
class Exchange:
    """A question about an image and its answer, both plain text."""

    question: str
    answer: str


@dataclass(frozen=True)
class Record:
    """One image with its annotations.

    Attributes:
        image_id: unique within ``source``.
        image: path, or RGB uint8 array (H, W, 3) for images that live in memory only.
        size: (H, W) in pixels after EXIF orientation.
        source: dataset name, for messages only; no behaviour may depend on it.
        vocabulary: names that ``Annotation.label`` points into; None for phrase or sentence data.
        exhaustive: every object of the vocabulary is annotated, so names without annotation are true negatives.
        exchanges: questions and answers in words.
        absent: where the record is not exhaustive, positions of names that are surely not in the image.
    """

    image_id: int | str
    image: str | Path | np.ndarray
    size: tuple[int, int]
    source: str = ""
    vocabulary: Vocabulary | None = None
    annotations: tuple[Annotation, ...] = ()
    expressions: tuple[Expression, ...] = ()
    captions: tuple[str, ...] = ()
    exchanges: tuple[Exchange, ...] = ()
    exhaustive: bool = True
    absent: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for expression in self.expressions:
            for target in expression.targets:
                if not 0 <= target < len(self.annotations):
                    raise ValueError(
                        f"image {self.image_id}: expression {expression.text!r} points at annotation {target}, "
                        f"but there are {len(self.annotations)}"
                    )
        count = 0 if self.vocabulary is None else len(self.vocabulary)
        if any(not 0 <= place < count for place in self.absent):
            raise ValueError(f"image {self.image_id}: absent {self.absent} outside the vocabulary of {count} names")
        if self.vocabulary is not None:
            for annotation in self.annotations:
                if annotation.label is not None and not 0 <= annotation.label < len(self.vocabulary):
                    raise ValueError(
                        f"image {self.image_id}: label {annotation.label} outside the vocabulary of "
                        f"{len(self.vocabulary)} names"
                    )
