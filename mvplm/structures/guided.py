"""Pictures with written answers whose boxes have masks: what models that turn boxes into masks learn from.

Letters: B samples, k instances of a sample, (h, w) merged grid at stride 32 of the processor's image, H x W original.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mvplm.structures.written import WrittenBatch, WrittenSample


@dataclass
class GuidedTarget:
    """The instances of a sample whose masks are learned.

    Attributes:
        boxes: (k, 4) float32 XYXY_NORM, what the mask decoder is given.
        masks: (k, H, W) bool, the truth at the original size.
        tokens: (k,) int64, which mask token of the sample stands for each: 0 is the first one written.

    Raises:
        ValueError: shapes that do not belong together, or boxes outside [0, 1].
    """

    boxes: Tensor
    masks: Tensor
    tokens: Tensor

    def __post_init__(self) -> None:
        count = len(self.tokens)
        if self.boxes.shape != (count, 4) or self.masks.ndim != 3 or len(self.masks) != count:
            raise ValueError(
                f"expected boxes ({count}, 4) and masks ({count}, H, W) for {count} tokens, "
                f"got {tuple(self.boxes.shape)} and {tuple(self.masks.shape)}"
            )
        if count and not bool(((self.boxes >= 0) & (self.boxes <= 1)).all()):
            raise ValueError("boxes must be XYXY_NORM inside [0, 1]; convert them with convert_boxes")

    def __len__(self) -> int:
        return len(self.tokens)

    def to(self, device: torch.device | str) -> "GuidedTarget":
        """The same target on ``device``."""
        return GuidedTarget(self.boxes.to(device), self.masks.to(device), self.tokens.to(device))


@dataclass
class GuidedSample(WrittenSample):
    """A picture with questions and answers, and the instances that are learned; none where answers have no masks."""

    target: GuidedTarget


@dataclass
class GuidedBatch:
    """Samples padded together.

    Attributes:
        written: pictures and text of the B samples. targets: B.
    """

    written: WrittenBatch
    targets: list[GuidedTarget]
    family: str = field(default="guided", init=False)

    @property
    def image_ids(self) -> list[int | str]:
        """B ids."""
        return self.written.image_ids

    def __len__(self) -> int:
        return len(self.written)

    def to(self, device: torch.device | str) -> "GuidedBatch":
        """The same batch with its tensors on ``device``."""
        return replace(self, written=self.written.to(device), targets=[target.to(device) for target in self.targets])


@dataclass
class GuidedOutput:
    """What a model makes of a batch in training.

    Attributes:
        text: scalar, mean cross-entropy of the answers.
        decoded: B outputs of the mask decoder with ``coarse_logits``, ``logits`` (k, 4h, 4w) and ``iou`` (k,); all None
            where no sample of the batch has an instance.
        idle: exact zero that touches the decoder's weights, where no sample of the batch has an instance.
    """

    text: Tensor
    decoded: list[Any]
    idle: Tensor | None = None
