"""Objects of other pictures pasted between those that a picture shows: more to learn from in one picture."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from mvplm.data.cells import Forms
from mvplm.structures.cells import CellBatch, CellSample
from mvplm.textmask.runs import tight_boxes

_TRIES = 6


class PastingCollate:
    """Makes batches of pictures that lend each other their objects, which go where nothing stands.

    An object keeps its size and is moved to a random place; nothing hides it, and it hides nothing. One for which no
    place is found in a few tries is left out. The pictures of a batch alone decide about its places.
    Source: Simple Copy-Paste (arXiv 2012.07177), without overlaps.

    Args:
        collate: makes batches of samples. forms: what is told of objects. lenders: that lend to each picture; 0: none.
    """

    def __init__(self, collate: Callable[[Sequence[CellSample]], CellBatch], *, forms: Forms, lenders: int) -> None:
        self.collate = collate
        self.forms = forms
        self.lenders = lenders

    def __call__(self, samples: Sequence[CellSample]) -> CellBatch:
        """The batch of B samples: each gets objects of those that follow it, the last of the first, none its own."""
        count = len(samples)
        steps = range(1, min(self.lenders, count - 1) + 1)
        lenders = [[samples[(place + step) % count] for step in steps] for place in range(count)]
        return self.collate([self._filled(*pair) for pair in zip(samples, lenders, strict=True)])

    def _filled(self, sample: CellSample, lenders: Sequence[CellSample]) -> CellSample:
        """A sample with what its lenders have room for."""
        rng = random.Random("-".join(str(one.image_id) for one in (sample, *lenders)))
        image, taken = sample.image.clone(), sample.masks.any(0).numpy().copy()
        masks, names = [], []
        for lender in lenders:
            for mask, name in zip(lender.masks.numpy(), lender.names, strict=True):
                x1, y1, x2, y2 = tight_boxes(mask[None])[0].tolist()
                shape = mask[y1:y2, x1:x2]
                place = _free_place(taken, shape, rng=rng)
                if place is None:
                    continue
                taken[place] |= shape
                image[:, place[0], place[1]][:, shape] = lender.image[:, y1:y2, x1:x2][:, shape]
                masks.append(np.zeros_like(taken))
                masks[-1][place] = shape
                names.append(name)
        if not masks:
            return sample
        pasted = torch.from_numpy(np.stack(masks))
        return _joined(sample, self.forms(image, pasted, names=tuple(names), image_id=sample.image_id))


def _joined(sample: CellSample, pasted: CellSample) -> CellSample:
    """The objects of both in the picture of the second."""
    sketches = None
    if sample.sketches is not None and pasted.sketches is not None:
        sketches = torch.cat([sample.sketches, pasted.sketches])
    return replace(
        pasted,
        masks=torch.cat([sample.masks, pasted.masks]),
        boxes=torch.cat([sample.boxes, pasted.boxes]),
        steps=torch.cat([sample.steps, pasted.steps]),
        sketches=sketches,
        names=(*sample.names, *pasted.names),
    )


def _free_place(taken: np.ndarray, shape: np.ndarray, *, rng: random.Random) -> tuple[slice, slice] | None:
    """Rows and columns where a shape (h, w) touches nothing that is taken, bool (H, W); None: none found."""
    height, width = shape.shape
    free = [taken.shape[0] - height, taken.shape[1] - width]
    if min(free) < 0:
        return None
    for _ in range(_TRIES):
        top, left = rng.randint(0, free[0]), rng.randint(0, free[1])
        place = slice(top, top + height), slice(left, left + width)
        if not (taken[place] & shape).any():
            return place
    return None
