"""What the visual tokens of pictures show: samples and batches for vision encoders that learn it cell by cell."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class CellSample:
    """A picture and what stands in it.

    Attributes:
        image: (3, H, W) uint8 RGB at its original size. image_id: for messages.
        masks: (N, H, W) bool of the objects. boxes: (N, 4) XYXY in sides of the picture. steps: (N, 4) int64, the
            same on the ladder of a codec. sketches: (N, h * w) bool, their canvases; None where that is not told.
        names: N lists of ids, of the words of each object's name.
    """

    image: Tensor
    image_id: int | str
    masks: Tensor
    boxes: Tensor
    steps: Tensor
    sketches: Tensor | None
    names: tuple[tuple[int, ...], ...]


@dataclass
class CellBatch:
    """Pictures and what each of their L visual tokens shows, all pictures after each other.

    Attributes:
        inputs: pictures as the model takes them, by name.
        words: (L, K) int64 ids of the words of what a token shows, -1 where there are fewer than K.
        shown: (L,) bool, False where a token shows none of the objects.
        boxes: (L, 4) XYXY in sides of the picture, steps: (L, 4) int64 on a ladder; zeros where nothing is shown.
        quarters: (L, 4) bool, which quarters of its cell the shown object covers, row by row.
        image_ids: of the B pictures.
        sketches: (L, h * w) bool, the canvas of the object; None where that is not told.
    """

    inputs: dict[str, Any]
    words: Tensor
    shown: Tensor
    boxes: Tensor
    steps: Tensor
    quarters: Tensor
    image_ids: list[int | str]
    sketches: Tensor | None = None
    family: str = field(default="caption", init=False)

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device | str) -> "CellBatch":
        """The same batch with its tensors on ``device``."""
        moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in self.inputs.items()}
        return replace(
            self,
            inputs=moved,
            words=self.words.to(device),
            shown=self.shown.to(device),
            boxes=self.boxes.to(device),
            steps=self.steps.to(device),
            quarters=self.quarters.to(device),
            sketches=None if self.sketches is None else self.sketches.to(device),
        )
