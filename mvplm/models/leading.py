"""Queries that stand before the matching ones: noised targets in training, box prompts at inference.

Both say where to look and what for, see the matching queries and are not seen by them.
Source: DN-DETR and OpenSeeD; MVP-LM, section 3.4.
"""

import torch
from torch import Tensor

from mvplm.models.box_queries import BoxQueries, box_queries
from mvplm.models.denoising import DenoisingQueries, DenoisingSettings, build_denoising
from mvplm.models.reading import NameStates
from mvplm.structures import Batch, PredictionSet


def leading_queries(
    batch: Batch, names: NameStates, *, training: bool, settings: DenoisingSettings | None
) -> DenoisingQueries | BoxQueries | None:
    """The leading queries of a batch, or None.

    Args:
        batch: its box prompts count at inference, its targets in training.
        names: embeddings of the names. In rows whose prompt has the word that stands for anything, every noised target
            is asked for by that word.
        training: whether targets are noised. settings: how; None: not at all.
    """
    if not training:
        return (
            None if batch.box_prompts is None else box_queries(batch.box_prompts, names.text, anything=names.anything)
        )
    if settings is None or batch.family != "word" or batch.targets is None:
        return None
    text = names.text
    if names.anything is not None and batch.object_spans is not None:
        there = batch.object_spans[:, 1] > batch.object_spans[:, 0]
        text = torch.where(there[:, None, None], names.anything[:, None], text)
    return build_denoising(batch.targets, text, name_mask=batch.name_mask, settings=settings)


def leading_predictions(logits: Tensor, boxes: Tensor, *, masks: Tensor | None, count: int) -> PredictionSet:
    """The last layer's predictions of the first ``count`` queries of (L, B, P + Q, ...)."""
    return PredictionSet(logits[-1, :, :count], boxes[-1, :, :count], None if masks is None else masks[-1, :, :count])
