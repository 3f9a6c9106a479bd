"""The objects of a record as masks with words, the way a codec writes them: by expression, or one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mvplm.structures import Annotation, Record
from mvplm.structures.masks import decode_mask

NAMELESS = "object"
"""Label of an object that has neither name nor phrase."""


@dataclass(frozen=True)
class LabelledMasks:
    """What one question is about.

    Attributes:
        masks: (N, H, W) bool, none of them empty. labels: N words.
    """

    masks: np.ndarray
    labels: tuple[str, ...]


def labelled_masks(record: Record) -> Iterator[LabelledMasks]:
    """All targets of each expression; in a record without expressions every object for itself.

    Crowds, objects without a mask and empty masks are left out, and so are expressions of which nothing is left.
    """
    if record.expressions:
        groups = [
            [(expression.text, record.annotations[place]) for place in expression.targets]
            for expression in record.expressions
        ]
    else:
        groups = [[(_name(record, annotation), annotation)] for annotation in record.annotations]
    for group in groups:
        found = [
            (label, decode_mask(annotation.segmentation, record.size))
            for label, annotation in group
            if annotation.segmentation is not None and not annotation.iscrowd
        ]
        found = [(label, mask) for label, mask in found if mask.any()]
        if found:
            yield LabelledMasks(np.stack([mask for _, mask in found]), tuple(label for label, _ in found))


def _name(record: Record, annotation: Annotation) -> str:
    if annotation.phrase:
        return annotation.phrase
    if annotation.label is None or record.vocabulary is None:
        return NAMELESS
    return record.vocabulary.names[annotation.label]
