"""From records to what every visual token of a picture shows."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvplm.data.mask_mapper import picture_of
from mvplm.data.named_objects import named_objects, word_rows
from mvplm.data.token_grids import HALF, TokenGrids, owners, quarter_shares
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures import Record
from mvplm.structures.cells import CellBatch, CellSample
from mvplm.textmask import BsdCodec, Codec
from mvplm.textmask.runs import tight_boxes

NOTHING = "background"
"""Word for tokens that show no object."""
_TENTHS = 10
_MOST_STEPS = 256
_MIRRORED = 0.5


@dataclass(frozen=True)
class Ladder:
    """How the edges of boxes are spelled: by a box-wise codec in its steps, if few; otherwise tenths, first digits."""

    codec: Codec

    @property
    def steps(self) -> int:
        """Number of steps."""
        return 1 + (max(self.codec.limit) if self._in_steps else _TENTHS)

    @property
    def _in_steps(self) -> bool:
        return isinstance(self.codec, BsdCodec) and max(self.codec.limit) <= _MOST_STEPS

    def __call__(self, masks: np.ndarray) -> Tensor:
        """Steps (N, 4) int64 of the boxes of masks bool (N, H, W), none of them empty."""
        if isinstance(self.codec, BsdCodec):
            boxes = self.codec.spelled_boxes(masks)
            return torch.from_numpy(boxes if self._in_steps else _TENTHS * boxes // max(self.codec.limit))
        sides = np.array([masks.shape[2], masks.shape[1]] * 2)
        return torch.from_numpy(_TENTHS * tight_boxes(masks) // sides)


@dataclass(frozen=True)
class Forms:
    """Makes samples with what masks tell: boxes, the same on a ladder and, with a codec of ``canvases``, sketches."""

    ladder: Ladder
    canvases: BsdCodec | None = None

    def __call__(
        self, image: Tensor, masks: Tensor, *, names: tuple[tuple[int, ...], ...], image_id: int | str
    ) -> CellSample:
        """The sample of an image with the masks (N, H, W) and names of its objects, none of them empty."""
        boxes, steps, sketches, found = torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int64), None, masks.numpy()
        if self.canvases is not None:
            sketches = torch.from_numpy(self.canvases.sketches(found)).flatten(1)
        if len(found):
            sides = torch.tensor([masks.shape[2], masks.shape[1]] * 2, dtype=torch.float32)
            boxes, steps = torch.from_numpy(tight_boxes(found)).float() / sides, self.ladder(found)
        return CellSample(image, image_id, masks, boxes, steps, sketches, names)


class CellMapper:
    """Makes samples of records with masks and a list of names, half of them mirrored. Source: ours.

    The random generator of a sample is seeded by (seed, epoch, index) alone.

    Args:
        tokenizer: plain. forms: what is told of objects. seed: base of all draws.
    """

    def __init__(self, tokenizer: PlainTokenizer, *, forms: Forms, seed: int = 0) -> None:
        self.tokenizer = tokenizer
        self.forms = forms
        self.seed = seed

    def __call__(self, record: Record, *, epoch: int = 0, index: int = 0) -> CellSample:
        """The sample of a record.

        Raises:
            ValueError: no list of names, an object without a mask, or a picture that cannot be read.
        """
        objects = named_objects(record, self.tokenizer)
        image, masks = picture_of(record), objects.masks
        if random.Random(f"{self.seed}-{epoch}-{index}").random() < _MIRRORED:
            image, masks = image.flip(2), masks.flip(2)
        return self.forms(image, masks, names=objects.names, image_id=record.image_id)


class CellCollate:
    """Makes batches: the processor takes the pictures, and every visual token gets the object that covers it most.

    Objects that cover less than an eighth of a token's cell are not shown by it.

    Args:
        pictures: makes the model's arguments of images uint8 (3, H, W), see :meth:`WrittenCollate.pictures`.
        tokenizer: plain. grids: of the model's visual tokens.
    """

    def __init__(self, pictures: Any, tokenizer: PlainTokenizer, *, grids: TokenGrids) -> None:
        self._pictures = pictures
        self._grids = grids
        self._nothing = tuple(tokenizer.encode(f" {NOTHING}"))

    def __call__(self, samples: Sequence[CellSample]) -> CellBatch:
        """The batch of B samples.

        Raises:
            ValueError: the visual tokens of a picture are not known to form a grid.
        """
        found = self._pictures([sample.image for sample in samples])
        shares = [quarter_shares(sample.masks, grid) for sample, grid in zip(samples, self._grids(found), strict=True)]
        owned = [owners(share) for share in shares]
        longest = max(len(name) for sample in samples for name in (self._nothing, *sample.names))
        words, boxes, steps, quarters, sketches = [], [], [], [], []
        for sample, share, owner in zip(samples, shares, owned, strict=True):
            words.append(word_rows([self._nothing, *sample.names], longest=longest)[owner])
            boxes.append(torch.cat([torch.zeros(1, 4), sample.boxes])[owner])
            steps.append(torch.cat([sample.steps.new_zeros(1, 4), sample.steps])[owner])
            if sample.sketches is not None:
                none = sample.sketches.new_zeros(1, sample.sketches.shape[1])
                sketches.append(torch.cat([none, sample.sketches])[owner])
            covered = torch.cat([share.new_zeros(1, *share.shape[1:]), share])
            quarters.append(covered[owner, torch.arange(len(owner))] >= HALF)
        inputs = {name: found[name] for name in ("pixel_values", "image_grid_thw") if name in found}
        return CellBatch(
            inputs,
            words=torch.cat(words),
            shown=torch.cat(owned) > 0,
            boxes=torch.cat(boxes),
            steps=torch.cat(steps),
            quarters=torch.cat(quarters),
            image_ids=[sample.image_id for sample in samples],
            sketches=torch.cat(sketches) if len(sketches) == len(samples) else None,
        )
