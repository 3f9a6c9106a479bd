"""One image's share of a batch of predictions, and its scores."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.postprocess.settings import PostprocessSettings
from mvplm.structures.batch import Batch
from mvplm.structures.boxes import BoxFormat, clip_boxes, convert_boxes, padded_share
from mvplm.structures.outputs import PerceptionOutput


@dataclass(frozen=True)
class ImageView:
    """Predictions of the last set on one image.

    Attributes:
        logits: (Q, columns) float32. boxes: (Q, 4) float32 CXCYWH_NORM.
        mask_embeddings: (Q, C) or None. mask_features: (C, h, w) over the padded frame, or None.
        num_things: queries before this position are matching queries, the rest stuff queries.
        names: K names in the caller's order (one expression for a sentence). isthing: K flags.
        frame: (H, W) padded input; valid: (h, w) un-padded part of it; size: (H, W) original image.
    """

    logits: Tensor
    boxes: Tensor
    mask_embeddings: Tensor | None
    mask_features: Tensor | None
    num_things: int
    names: tuple[str, ...]
    isthing: tuple[bool, ...]
    frame: tuple[int, int]
    valid: tuple[int, int]
    size: tuple[int, int]

    @property
    def has_masks(self) -> bool:
        """Whether masks can be made."""
        return self.mask_embeddings is not None and self.mask_features is not None

    def mask_logits(self, queries: Tensor) -> Tensor:
        """Mask logits (N, h, w) float32 of some queries (N,), at the resolution of the mask features."""
        return torch.einsum("qc,chw->qhw", self.mask_embeddings[queries].float(), self.mask_features.float())

    def pixel_boxes(self, queries: Tensor) -> Tensor:
        """Boxes (N, 4) XYXY_ABS of some queries (N,), in pixels of the original image and clipped to it."""
        boxes = self.boxes[queries]
        pixels = convert_boxes(boxes, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_ABS, size=self.size)
        return clip_boxes(pixels, self.size)

    def name_probabilities(self, settings: PostprocessSettings) -> Tensor:
        """(Q, K) probability of every real name: softmax over names and no-object, or independent sigmoids."""
        if settings.classifier == "sigmoid_focal":
            return self.logits[:, : len(self.names)].sigmoid()
        return self.logits.softmax(-1)[:, : len(self.names)]

    def no_object(self, settings: PostprocessSettings) -> Tensor:
        """(Q,) probability of no object; 0 for heads without that column."""
        if settings.classifier == "sigmoid_focal":
            return self.logits.new_zeros(len(self.logits))
        return self.logits.softmax(-1)[:, -1]


def view_image(output: PerceptionOutput, batch: Batch, *, image: int) -> ImageView:
    """The view of image number ``image`` of a batch."""
    final = output.final
    names = tuple(batch.names[image])
    return ImageView(
        logits=final.logits[image].float(),
        boxes=convert_boxes(
            final.boxes[image].float(),
            output.box_format,
            target=BoxFormat.CXCYWH_NORM,
            share=padded_share(output.valid_sizes[image], output.frame),
        ),
        mask_embeddings=None if final.mask_embeddings is None else final.mask_embeddings[image],
        mask_features=None if output.mask_features is None else output.mask_features[image],
        num_things=output.num_things,
        names=names,
        isthing=tuple(bool(flag) for flag in output.isthing[image, : len(names)].tolist()),
        frame=output.frame,
        valid=tuple(output.valid_sizes[image]),
        size=tuple(batch.original_sizes[image]),
    )
