"""A language model from scratch learns where to look: visual tokens say how much they show of what is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, rms_norm

from mvplm.models.text_mask.model import loss_of_output, read_rows
from mvplm.models.text_mask.pictures import positions_of
from mvplm.models.text_mask.teaching import eyes_of, teach_only
from mvplm.structures.processes import mean_over_processes
from mvplm.structures.written import WrittenBatch

_OTHERS_WEIGHT = 0.2


class LookingTeacher(nn.Module):
    """Trains answers, and beside them a dense hint where they come from.

    An answer alone teaches a language model little about where to look: a few digits for a whole picture. With the
    question in front of the picture each visual token can already tell which quarters of its cell show what is asked
    for, and is taught to, half way through the layers: what only the last one knows, no answer can look up. A linear
    layer does so, which is left out of saved models. Source: ours, after segmentation heads on conditioned features.

    One layer later, each token of an answer may be taught to say which box it is about, through another such layer:
    few tokens spell edges, and all of them can learn to look at what visual tokens found.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters.
        image_id: id of visual tokens. weight: of the hint beside the answers.
        answers: learn answers, too; without, half of the layers are run and learn, and batches need no answers.
        box_weight: of the hint about boxes. steps: values that an edge can have.

    Raises:
        ValueError: a language model of one layer, which has no half.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        image_id: int,
        weight: float = 1.0,
        answers: bool = True,
        box_weight: float = 0.0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        self.model: Any = model
        width = int(self.model.get_output_embeddings().weight.shape[1])
        self.asked = nn.Linear(width, 4)
        self.box_weight = box_weight if answers else 0.0
        if self.box_weight:
            self.about = nn.Linear(width, 4 * steps)
        self.image_id = image_id
        self.weight = weight
        self.answers = answers
        if not self._half:
            raise ValueError("hints where to look are given half way through the layers: one layer is too few")
        if not answers:
            words = self.model.get_input_embeddings()
            teach_only(model, (*eyes_of(model), words, self._decoder.layers[: self._half]))

    @property
    def _decoder(self) -> Any:
        return self.model.get_decoder()

    @property
    def _half(self) -> int:
        return len(self._decoder.layers) // 2

    def caption_loss(self, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the answers plus those of the visual tokens and of the boxes, times their weights.

        Quarters that show nothing of what is asked for count a fifth. Without ``answers`` the second part alone.

        Raises:
            ValueError: a batch with open answers, or one that does not tell what visual tokens show.
        """
        if batch.asked is None:
            raise ValueError("a batch needs to tell which visual tokens show what is asked for")
        if not self.answers:
            return self._hint(self._first_half(batch), batch)
        output = read_rows(self.model, batch, output_hidden_states=True)
        states = output.hidden_states
        loss = loss_of_output(output, batch) + self.weight * self._hint(states[self._half], batch)
        return loss + self.box_weight * self._box_hint(states[self._half + 1], batch) if self.box_weight else loss

    def _hint(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the quarters of visual tokens, from states (B, T, C) half way."""
        assert batch.asked is not None, "was looked at before"
        states = states[batch.inputs["input_ids"] == self.image_id]
        scores = self.asked(rms_norm(states, states.shape[-1:])).float()
        weights = torch.where(batch.asked, 1.0, _OTHERS_WEIGHT)
        hint = binary_cross_entropy_with_logits(scores, batch.asked.float(), weights, reduction="sum")
        return hint / mean_over_processes(weights.sum())

    def _box_hint(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the edges of the boxes that tokens are about, from states (B, T, C); 0 without any."""
        assert batch.about is not None, "comes with what is asked for"
        told = batch.about[..., 0] >= 0
        states, about = states[told], batch.about[told]
        scores = self.about(rms_norm(states, states.shape[-1:])).float().unflatten(1, (4, -1)).log_softmax(-1)
        loss = -scores.gather(2, about[..., None]).sum() / 4
        return loss / mean_over_processes(told.sum().float()).clamp(min=1)

    def _first_half(self, batch: WrittenBatch) -> Tensor:
        """States (B, T, C) half way through the layers; the others are not run."""
        with _cut(self._decoder, self._half) as last:
            positions = positions_of(self.model, batch.inputs["attention_mask"])
            self.model.model(**batch.inputs, position_ids=positions, use_cache=False)
        return last[0]


@contextmanager
def _cut(decoder: Any, layers: int) -> Iterator[list[Tensor]]:
    """A decoder has its first layers alone meanwhile; gives a list that gets the output of the last of them."""
    found: list[Tensor] = []
    whole, decoder.layers = decoder.layers, decoder.layers[:layers]

    def keep(*call: Any) -> None:
        output = call[-1]
        found.append(output if isinstance(output, Tensor) else output[0])

    handle = decoder.layers[-1].register_forward_hook(keep)
    try:
        yield found
    finally:
        handle.remove()
        decoder.layers = whole
