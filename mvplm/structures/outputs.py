"""What the network returns, before any post-processing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.structures.boxes import BoxFormat


@dataclass
class PredictionSet:
    """One set of predictions for Q queries.

    Attributes:
        logits: (B, Q, K+1) for words (last column: no object; padded names -inf) or (B, Q, 1) for a sentence, float32.
        boxes: (B, Q, 4) float32, in the format of the output they belong to.
        mask_embeddings: (B, Q, C); mask logits are their dot products with the mask features. None for box-only tasks.
    """

    logits: Tensor
    boxes: Tensor
    mask_embeddings: Tensor | None


@dataclass
class DenoisingOutput:
    """Predictions of the denoising queries (training only).

    Attributes:
        logits: (L, B, P, K+1); boxes: (L, B, P, 4); mask_embeddings: (L, B, P, C) or None.
        groups: g, number of noised copies. slots: targets per group (G_max), so P = groups * slots and target j of an
            image in group i sits at slot i * slots + j.
        target_index: (B, slots) int64, which target of the image stands at place j of a group, -1 when empty.
    """

    logits: Tensor
    boxes: Tensor
    mask_embeddings: Tensor | None
    groups: int
    slots: int
    target_index: Tensor


@dataclass
class PerceptionOutput:
    """Everything the decoder says about a batch.

    Attributes:
        logits: (L, B, Q, K+1 or 1); boxes: (L, B, Q, 4) in ``box_format``; mask_embeddings: (L, B, Q, C) or None. Set 0
            is the prediction on the initial queries, set -1 the output. At inference L = 1.
        mask_features: (B, C, H/4, W/4) over the padded frame, or None for box-only tasks.
        num_things: N; queries [0, N) are matching queries, [N, Q) stuff queries (Q = N without stuff).
        family: "word" or "sentence".
        isthing: (B, K) bool and name_mask: (B, K) bool of the batch.
        frame: (H, W) padded input size; valid_sizes: B pairs (h, w).
        selection: prediction set on the selected encoder features (training only), or None.
        denoising: predictions of the denoising queries (training only), or None.
        prompted: predictions for the box prompts, in their order (inference only), or None.
        lm_loss: scalar token-mean cross-entropy of the response, or None.
        text_embeddings: (B, K, C); summary: (B, D) hidden state of ``<PER>``; both for caching and tests.
        zero: exact-zero scalar that touches every parameter not otherwise used, so that data-parallel wrappers see it.
        box_format: of all boxes, CXCYWH_NORM or CXCYWH_PADDED.
    """

    logits: Tensor
    boxes: Tensor
    mask_embeddings: Tensor | None
    mask_features: Tensor | None
    num_things: int
    family: str
    isthing: Tensor
    name_mask: Tensor
    frame: tuple[int, int]
    valid_sizes: list[tuple[int, int]]
    selection: PredictionSet | None = None
    denoising: DenoisingOutput | None = None
    prompted: PredictionSet | None = None
    lm_loss: Tensor | None = None
    text_embeddings: Tensor | None = None
    summary: Tensor | None = None
    zero: Tensor | None = None
    box_format: BoxFormat = BoxFormat.CXCYWH_NORM

    @classmethod
    def of(
        cls,
        logits: Tensor,
        boxes: Tensor,
        *,
        mask_embeddings: Tensor | None = None,
        mask_features: Tensor | None = None,
        frame: tuple[int, int] | None = None,
    ) -> "PerceptionOutput":
        """The output of any network of DETR's kind, so that matcher, losses and post-processing can work with it.

        Args:
            logits: (B, Q, K + 1), last column no object, or (B, Q, 1) for one expression; (L, B, Q, columns) for
                several layers, the initial queries first.
            boxes: (B, Q, 4) or (L, B, Q, 4) CXCYWH_NORM.
            mask_embeddings: (B, Q, C) or (L, B, Q, C). mask_features: (B, C, h, w).
            frame: (H, W) input size in pixels; 4 h x 4 w when None.

        Raises:
            ValueError: the shapes do not belong together.
        """
        if logits.ndim == 3:
            logits, boxes = logits[None], boxes[None]
            mask_embeddings = None if mask_embeddings is None else mask_embeddings[None]
        if logits.ndim != 4 or tuple(boxes.shape) != (*logits.shape[:3], 4):
            raise ValueError(
                f"logits (B, Q, columns) need boxes (B, Q, 4), got {tuple(logits.shape)} and {tuple(boxes.shape)}"
            )
        if (mask_embeddings is None) != (mask_features is None):
            raise ValueError("masks need both mask_embeddings and mask_features")
        if frame is None:
            frame = (1, 1) if mask_features is None else (4 * mask_features.shape[-2], 4 * mask_features.shape[-1])
        count, queries, columns = logits.shape[1:]
        everything = torch.ones(count, max(columns - 1, 1), dtype=torch.bool, device=logits.device)
        return cls(
            logits=logits,
            boxes=boxes,
            mask_embeddings=mask_embeddings,
            mask_features=mask_features,
            num_things=queries,
            family="word" if columns > 1 else "sentence",
            isthing=everything,
            name_mask=everything,
            frame=frame,
            valid_sizes=[frame] * count,
        )

    @property
    def final(self) -> PredictionSet:
        """The last decoder layer's predictions."""
        masks = None if self.mask_embeddings is None else self.mask_embeddings[-1]
        return PredictionSet(self.logits[-1], self.boxes[-1], masks)
