"""What enters and leaves the box-guided mask decoder, checked when built.

Letters: k instances, D text width of the base model, d decoder width, (h, w) merged grid at stride 32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDE = 32
"""Pixels of the processor's image per merged visual token."""


@dataclass
class DecoderInput:
    """One image and the boxes to be decoded on it.

    Attributes:
        levels: K maps (D, h, w) of the vision tower, merged: DeepStack levels in order, then the final one.
        image: (3, 32 * h, 32 * w) the processor's image, values in [-1, 1].
        image_states: (D, h, w) last states of the language model at the image tokens.
        mask_states: (k, D) last state of the language model at each instance's mask token.
        boxes: (k, 4) XYXY_NORM, one per mask state.

    Raises:
        ValueError: shapes that do not belong together, or boxes that are not finite or leave [0, 1].
    """

    levels: list[Tensor]
    image: Tensor
    image_states: Tensor
    mask_states: Tensor
    boxes: Tensor

    def __post_init__(self) -> None:
        if self.image_states.ndim != 3:
            raise ValueError(f"image_states must be (D, h, w), got {tuple(self.image_states.shape)}")
        width, height, columns = self.image_states.shape
        for level in self.levels:
            if level.shape != self.image_states.shape:
                raise ValueError(
                    f"levels must be {tuple(self.image_states.shape)} like image_states, got {tuple(level.shape)}"
                )
        expected = (3, STRIDE * height, STRIDE * columns)
        if self.image.shape != expected:
            raise ValueError(
                f"image must be {expected} for a grid of {height} x {columns}, got {tuple(self.image.shape)}"
            )
        if self.mask_states.ndim != 2 or self.mask_states.shape[1] != width:
            raise ValueError(f"mask_states must be (k, {width}), got {tuple(self.mask_states.shape)}")
        if self.boxes.shape != (len(self.mask_states), 4):
            raise ValueError(f"boxes must be ({len(self.mask_states)}, 4), got {tuple(self.boxes.shape)}")
        if self.boxes.numel() and not bool(((self.boxes >= 0) & (self.boxes <= 1)).all()):
            raise ValueError("boxes must be finite XYXY_NORM boxes inside [0, 1]; convert them with convert_boxes")

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the merged grid."""
        return self.image_states.shape[1], self.image_states.shape[2]

    def chunks(self, most: int) -> list["DecoderInput"]:
        """The same image with at most ``most`` instances each, in order; an image without instances is one chunk."""
        starts = range(0, max(len(self.boxes), 1), most)
        return [
            DecoderInput(
                self.levels,
                self.image,
                self.image_states,
                mask_states=self.mask_states[start : start + most],
                boxes=self.boxes[start : start + most],
            )
            for start in starts
        ]


@dataclass
class DecoderOutput:
    """Masks of one image's instances.

    Attributes:
        coarse_logits: (k, 4 * h, 4 * w) mask logits before the refinement.
        logits: (k, 4 * h, 4 * w) mask logits at stride 8; a pixel belongs to the mask above 0.
        iou: (k,) predicted overlap with the true mask, not limited to [0, 1].
        queries: (k, d) refined queries.
        chunks: groups in which the instances were decoded.
    """

    coarse_logits: Tensor
    logits: Tensor
    iou: Tensor
    queries: Tensor
    chunks: int = 1

    def masks(self, size: tuple[int, int], threshold: float = 0.0) -> Tensor:
        """(k, H, W) bool masks at ``size`` (H, W): logits resized bilinearly, then cut at ``threshold``."""
        if not len(self.logits):
            return torch.zeros(0, *size, dtype=torch.bool, device=self.logits.device)
        return F.interpolate(self.logits[None].float(), size=size, mode="bilinear", align_corners=False)[0] > threshold

    @property
    def scores(self) -> Tensor:
        """(k,) predicted overlap limited to [0, 1]."""
        return self.iou.clamp(0, 1)


def joined(outputs: list[DecoderOutput]) -> DecoderOutput:
    """The outputs of one image's chunks as one, in order."""
    if len(outputs) == 1:
        return outputs[0]
    return DecoderOutput(
        torch.cat([output.coarse_logits for output in outputs]),
        torch.cat([output.logits for output in outputs]),
        torch.cat([output.iou for output in outputs]),
        torch.cat([output.queries for output in outputs]),
        chunks=len(outputs),
    )
