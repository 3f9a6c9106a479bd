"""A vision encoder from scratch learns to see: every visual token says what its cell shows, and where that ends."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, rms_norm

from mvplm.models.text_mask.drawing import DrawingHints
from mvplm.models.text_mask.teaching import eyes_of, teach_only
from mvplm.structures.cells import CellBatch
from mvplm.structures.processes import mean_over_processes

_NOTHING_WEIGHT = 0.3
_WORD_WEIGHT = 2.0
_BOX_WEIGHT = 5.0
_STEP_WEIGHT = 0.5


class CellTeacher(nn.Module):
    """Trains the vision encoder of a multimodal language model ahead of the language model.

    A language model with random weights gives a vision encoder with random weights next to no gradient: it does not
    look, so nothing there is worth looking at. Here each visual token goes straight to the language model's output
    layer and is to give the words of the object that covers its cell, which also puts tokens and words into one space;
    linear layers of their own, left out of saved models, give the object's box, as numbers and as steps of the ladder
    on which answers spell it, and the quarters of the cell that the object covers: what one layer can tell, answers can
    look up. Source: ours, after dense one-stage detectors (FCOS, arXiv 1904.01355).

    Two things keep the language model teachable afterwards. The choice is among the words of the batch, or all other
    words would be pushed in one direction until they are hardly told apart. And tokens are kept as large as words: what
    a layer adds to much larger ones would be lost on them.

    The rest of the language model gets no gradient.

    Args:
        model: of ``AutoModelForImageTextToText``, without adapters. steps: of that ladder.
        drawing: weight of the loss of what objects look like on canvases, and the (h, w) cells of these.
    """

    def __init__(self, model: nn.Module, *, steps: int, drawing: tuple[float, tuple[int, int]] = (0.0, (0, 0))) -> None:
        super().__init__()
        self.model: Any = model
        width = int(self._head.weight.shape[1])
        self.box = nn.Linear(width, 4)
        self.steps = nn.Linear(width, 4 * steps)
        self.quarters = nn.Linear(width, 4)
        self.mask_weight = drawing[0]
        if self.mask_weight:
            self.drawing = DrawingHints(width, canvas=drawing[1], rows=False)
        teach_only(model, (*eyes_of(model), self._head))

    @property
    def _head(self) -> Any:
        return self.model.get_output_embeddings()

    def caption_loss(self, batch: CellBatch) -> Tensor:
        """Twice the mean cross-entropy to the words, which share the truth evenly, plus boxes, quarters and sizes.

        Boxes: five times the L1 distance of edges, plus half the cross-entropy of the steps they fall on. Quarters:
        their mean cross-entropy. Both where something is shown. Sizes: squared logarithm of how many times the words'
        root mean square that of tokens is.

        Raises:
            ValueError: a batch without the canvases that are learned.
        """
        features = self._features(batch)
        tokens = rms_norm(features, features.shape[-1:])
        told = batch.words >= 0
        spoken = torch.zeros(self._head.weight.shape[0] + 1, dtype=torch.bool, device=told.device)
        spoken = spoken.index_fill(0, batch.words.flatten() + 1, True)[1:]
        scores = self._head(tokens).float().masked_fill(~spoken, -math.inf).log_softmax(-1)
        words = scores.gather(1, batch.words.clamp(min=0)).masked_fill(~told, 0.0).sum(1) / told.sum(1)
        weights = torch.where(batch.shown, 1.0, _NOTHING_WEIGHT)
        edges = _BOX_WEIGHT * (self.box(tokens).float() - batch.boxes).abs().mean(1)
        steps = self.steps(tokens).float().unflatten(1, (4, -1)).log_softmax(-1)
        edges = edges - _STEP_WEIGHT * steps.gather(2, batch.steps[..., None]).mean((1, 2))
        covered = binary_cross_entropy_with_logits(
            self.quarters(tokens).float(), batch.quarters.float(), reduction="none"
        )
        forms = (edges + covered.mean(1)).masked_fill(~batch.shown, 0.0).sum()
        shown = mean_over_processes(batch.shown.sum().float()).clamp(min=1)
        named = -(words * weights).sum() / mean_over_processes(weights.sum())
        loss = _WORD_WEIGHT * named + forms / shown + self._size(features, spoken)
        if not self.mask_weight:
            return loss
        if batch.sketches is None:
            raise ValueError("a batch needs to tell what objects look like on canvases")
        return loss + self.mask_weight * self.drawing.sketched(tokens[batch.shown], batch.sketches[batch.shown])

    def _size(self, features: Tensor, spoken: Tensor) -> Tensor:
        """How far tokens (L, C) are from the size of the words (V,) that are spoken."""
        words = self.model.get_input_embeddings().weight.detach().float().square().mean(1)
        wanted = (words * spoken).sum() / spoken.sum()
        return ((features.float().square().mean() / wanted).log() / 2).square()

    def _features(self, batch: CellBatch) -> Tensor:
        """Visual tokens (L, C) as the language model gets them."""
        features = self.model.get_image_features(**batch.inputs).pooler_output
        features = features if isinstance(features, Tensor) else torch.cat(list(features))
        return features.flatten(0, -2)
