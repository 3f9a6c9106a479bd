"""Queries that stand before the matching ones: noised targets in training, box prompts at inference.

Both say where to look and what for, see the matching queries and are not seen by them.
Source: DN-DETR and OpenSeeD; MVP-LM, section 3.4.
"""

from dataclasses import replace

import torch
from torch import Tensor

from mvplm.models.box_queries import BoxQueries, box_queries
from mvplm.models.denoising import DenoisingQueries, DenoisingSettings, build_denoising
from mvplm.models.names import NameStates
from mvplm.structures import Batch, BoxFormat, PredictionSet, convert_boxes
from mvplm.structures.boxes import padded_share


def leading_queries(
    batch: Batch,
    names: NameStates,
    *,
    training: bool,
    settings: DenoisingSettings | None,
    box_format: BoxFormat = BoxFormat.CXCYWH_NORM,
) -> DenoisingQueries | BoxQueries | None:
    """The leading queries of a batch, or None.

    Args:
        batch: its box prompts count at inference, its targets in training.
        names: embeddings of the names. In rows whose prompt has the word that stands for anything, every noised target
            is asked for by that word.
        training: whether targets are noised. settings: how; None: not at all.
        box_format: of the decoder's boxes, CXCYWH_NORM or CXCYWH_PADDED; box prompts are put into it.
    """
    if not training:
        if batch.box_prompts is None:
            return None
        prompts = replace(batch.box_prompts, boxes=_framed(batch, batch.box_prompts.boxes, box_format=box_format))
        return box_queries(prompts, names.text, anything=names.anything)
    if settings is None or batch.family != "word" or batch.targets is None:
        return None
    text = names.text
    if names.anything is not None and batch.object_spans is not None:
        there = batch.object_spans[:, 1] > batch.object_spans[:, 0]
        text = torch.where(there[:, None, None], names.anything[:, None], text)
    return build_denoising(batch.targets, text, name_mask=batch.name_mask, settings=settings)


def _framed(batch: Batch, boxes: Tensor, *, box_format: BoxFormat) -> Tensor:
    """Boxes (B, P, 4) CXCYWH_NORM in another format."""
    frame = (batch.images.shape[-2], batch.images.shape[-1])
    shares = [padded_share(size, frame) for size in batch.valid_sizes]
    rows = zip(boxes, shares, strict=True)
    return torch.stack(
        [convert_boxes(row, BoxFormat.CXCYWH_NORM, target=box_format, share=share) for row, share in rows]
    )


def leading_predictions(logits: Tensor, boxes: Tensor, *, masks: Tensor | None, count: int) -> PredictionSet:
    """The last layer's predictions of the first ``count`` queries of (L, B, P + Q, ...)."""
    return PredictionSet(logits[-1, :, :count], boxes[-1, :, :count], None if masks is None else masks[-1, :, :count])
