"""All objects of a picture with their names: what each visual token shows, in words."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures import Annotation, Record
from mvplm.structures.masks import decode_mask
from mvplm.structures.written import NamedObjects


def named_annotations(record: Record) -> list[Annotation]:
    """What of a record has a name, crowds left out."""
    return [one for one in record.annotations if one.label is not None and not one.iscrowd]


def named_objects(record: Record, tokenizer: PlainTokenizer) -> NamedObjects:
    """The masks and names of :func:`named_annotations`.

    Raises:
        ValueError: no list of names, or an object without a mask.
    """
    if record.vocabulary is None:
        raise ValueError(f"image {record.image_id}: cells need a list of names")
    found = named_annotations(record)
    masks = np.zeros((len(found), *record.size), bool)
    for mask, one in zip(masks, found, strict=True):
        if one.segmentation is None:
            raise ValueError(f"image {record.image_id}: cells need the masks of all objects")
        mask[:] = decode_mask(one.segmentation, record.size)
    names = [record.vocabulary.names[one.label or 0] for one in found]
    return NamedObjects(torch.from_numpy(masks), tuple(tuple(tokenizer.encode(f" {name}")) for name in names))


def word_rows(names: Sequence[Sequence[int]], *, longest: int) -> Tensor:
    """Ids of N names as (N, longest) int64, filled up with -1."""
    return torch.tensor([[*name, *[-1] * (longest - len(name))] for name in names], dtype=torch.int64)
