"""A vision encoder from scratch learns to see: every visual token says what its cell shows, and where that ends."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from mvplm.structures.cells import CellBatch
from mvplm.structures.processes import mean_over_processes

_NOTHING_WEIGHT = 0.3
_BOX_WEIGHT = 5.0
_TENTHS = 10


class CellTeacher(nn.Module):
    """Trains the vision encoder of a multimodal language model ahead of the language model.

    A language model with random weights gives a vision encoder with random weights next to no gradient: it does not
    look, so nothing there is worth looking at. Here each visual token goes straight to the language model's output
    layer and is to give the words of the object that covers its cell, which also puts tokens and words into one space;
    linear layers of their own, left out of saved models, give the object's box, as numbers and as the first digits
    that answers spell. Source: ours, after dense one-stage detectors (FCOS, arXiv 1904.01355).

    The rest of the language model gets no gradient.

    Args:
        model: of ``AutoModelForImageTextToText``, without adapters.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model
        width = int(self._head.weight.shape[1])
        self.box = nn.Linear(width, 4)
        self.tenths = nn.Linear(width, 4 * _TENTHS)
        taught = {id(p) for part in (self._eyes, self._head) for p in part.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(id(parameter) in taught)

    @property
    def _head(self) -> Any:
        return self.model.get_output_embeddings()

    @property
    def _eyes(self) -> nn.Module:
        eyes: nn.Module = self.model.get_encoder(modality="image")
        return eyes

    def caption_loss(self, batch: CellBatch) -> Tensor:
        """Mean cross-entropy to the words, which share the truth evenly, plus that of the boxes.

        Boxes: five times the L1 distance of edges, plus the cross-entropy of their first digits.
        """
        tokens = self._tokens(batch)
        scores = self._head(tokens).float().log_softmax(-1)
        told = batch.words >= 0
        words = scores.gather(1, batch.words.clamp(min=0)).masked_fill(~told, 0.0).sum(1) / told.sum(1)
        weights = torch.where(batch.shown, 1.0, _NOTHING_WEIGHT)
        edges = _BOX_WEIGHT * (self.box(tokens).float() - batch.boxes).abs().mean(1)
        digits = self.tenths(tokens).float().unflatten(1, (4, _TENTHS)).log_softmax(-1)
        true = (batch.boxes * _TENTHS).long().clamp(0, _TENTHS - 1)
        edges = (edges - digits.gather(2, true[..., None]).mean((1, 2))).masked_fill(~batch.shown, 0.0).sum()
        shown = mean_over_processes(batch.shown.sum().float()).clamp(min=1)
        return -(words * weights).sum() / mean_over_processes(weights.sum()) + edges / shown

    def _tokens(self, batch: CellBatch) -> Tensor:
        """Visual tokens (L, C) as the language model gets them, at unit size."""
        features = self.model.get_image_features(**batch.inputs).pooler_output
        features = features if isinstance(features, Tensor) else torch.cat(list(features))
        return rms_norm(features.flatten(0, -2), features.shape[-1:])
