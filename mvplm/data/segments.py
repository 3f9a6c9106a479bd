"""Entries of a panoptic file for the regions of a map."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mvplm.structures.masks import tight_box

_IDS = 256**3


class SegmentIds:
    """Segment ids near the colours of categories, so that a map looks like its classes; every id is given once.

    Args:
        colors: [r, g, b] by category id.
    """

    def __init__(self, colors: Mapping[int, Sequence[int]]) -> None:
        self._first = {id_: red + 256 * green + 65536 * blue for id_, (red, green, blue) in colors.items()}
        self._given = {0}

    def next(self, category_id: int) -> int:
        """A new id for a segment of the category."""
        id_ = self._first[category_id]
        while id_ in self._given:
            id_ = (id_ + 1) % _IDS
        self._given.add(id_)
        return id_


def segment_entries(
    ids: np.ndarray, categories: Mapping[int, int], *, crowds: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Entries {id, category_id, area, bbox XYWH, iscrowd} of the segments that have pixels.

    Args:
        ids: segment ids (H, W); 0 is void.
        categories: category id of every segment id, in the order of the result.
        crowds: segment ids of crowds.
    """
    entries = []
    for id_, category in categories.items():
        mask = ids == id_
        box = tight_box(mask)
        if box is None:
            continue
        x1, y1, x2, y2 = (int(value) for value in box)
        entries.append(
            {
                "id": int(id_),
                "category_id": int(category),
                "area": int(mask.sum()),
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "iscrowd": int(id_ in crowds),
            }
        )
    return entries
