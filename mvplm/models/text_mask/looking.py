"""A language model from scratch learns where to look: visual tokens say how much they show of what is asked for."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, rms_norm

from mvplm.models.text_mask.attending import Looks, remembered
from mvplm.models.text_mask.drawing import DrawingHints
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

    Few tokens of an answer spell edges, and what they look at is found by chance. With ``box_weight`` visual tokens
    also say half way, through another such layer, the box of the object that they show, if it is asked for; in the next
    layer of the model, half of the heads are to look there from every token of an answer that is about that object; and
    behind it such a token is to say the box in the same way. :class:`CellTeacher` teaches that layer under that name.

    Matching words and looks is what takes longest to begin. With ``word_weight`` half of the heads of the first layer
    are to look, from each visual token, at the words of the question that name what it shows; without such words,
    anywhere but at the question.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters.
        image_id: id of visual tokens. weight: of the hint beside the answers.
        answers: learn answers, too; without, half of the layers are run and learn, and batches need no answers.
        texts: batches without pictures come as well, of which all layers learn to write.
        box_weight: of the hints about boxes. steps: values that an edge can have. word_weight: of that about words.
        counts: (V,) float, how much each token of the vocabulary counts in answers; None: all the same.

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
        texts: bool = False,
        box_weight: float = 0.0,
        steps: int = 1,
        word_weight: float = 0.0,
        drawing: tuple[float, tuple[int, int]] = (0.0, (0, 0)),
        counts: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model: Any = model
        width = int(self.model.get_output_embeddings().weight.shape[1])
        self.asked = nn.Linear(width, 4)
        self.box_weight = box_weight
        self.word_weight = word_weight
        if box_weight:
            self.steps = nn.Linear(width, 4 * steps)
        self.mask_weight = drawing[0]
        if self.mask_weight:
            self.drawing = DrawingHints(width, canvas=drawing[1], rows=answers or texts)
        self.register_buffer("counts", counts, persistent=False)
        self.counts: Tensor | None
        self.image_id = image_id
        self.weight = weight
        self.answers = answers
        if not self._half:
            raise ValueError("hints where to look are given half way through the layers: one layer is too few")
        if not answers:
            words, layers = self.model.get_input_embeddings(), self._decoder.layers
            teach_only(model, (*eyes_of(model), words, self._decoder if texts else layers[: self._half]))

    @property
    def _decoder(self) -> Any:
        return self.model.get_decoder()

    @property
    def _half(self) -> int:
        return len(self._decoder.layers) // 2

    def caption_loss(self, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the answers plus those of the hints, times their weights.

        Quarters that show nothing of what is asked for count a fifth. Without ``answers`` the second part alone.

        Raises:
            ValueError: a batch with open answers, or one that does not tell what visual tokens show.
        """
        if not batch.pictured:
            return self._written(batch)
        if batch.asked is None:
            raise ValueError("a batch needs to tell which visual tokens show what is asked for")
        layers = self._decoder.layers
        watched = {0: self.word_weight, self._half: self.box_weight if self.answers else 0.0}
        with ExitStack() as stack:
            looks = {place: stack.enter_context(remembered(layers[place])) for place in watched if watched[place]}
            output = read_rows(self.model, batch, output_hidden_states=True) if self.answers else None
            states = self._first_half(batch) if output is None else output.hidden_states[self._half]
        loss = self._hint(states, batch) if output is None else self.weight * self._hint(states, batch)
        if self.word_weight:
            loss = loss + self.word_weight * self._naming(looks[0][0], batch)
        if self.box_weight:
            loss = loss + self.box_weight * self._seen_boxes(states, batch)
        if self.mask_weight:
            loss = loss + self.mask_weight * self._seen_sketches(states, batch)
        if output is None:
            return loss
        loss = loss + loss_of_output(output, batch, weights=self.counts)
        if not self.box_weight:
            return loss
        told = self._told_boxes(output.hidden_states[self._half + 1], batch)
        loss = loss + self.box_weight * (told + self._pointing(looks[self._half][0], batch))
        return loss + self.mask_weight * self._drawn(output.hidden_states, batch) if self.mask_weight else loss

    def _written(self, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of answers that are written without pictures, and of which row of a canvas is."""
        output = read_rows(self.model, batch, output_hidden_states=True)
        loss = loss_of_output(output, batch)
        if not self.mask_weight:
            return loss
        assert batch.drawn is not None, "comes with texts"
        inside = batch.drawn >= 0
        return loss + self.drawing.numbered(output.hidden_states[self._half][inside], batch.drawn[inside])

    def _hint(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the quarters of visual tokens, from states (B, T, C) half way."""
        assert batch.asked is not None, "was looked at before"
        states = states[batch.inputs["input_ids"] == self.image_id]
        scores = self.asked(rms_norm(states, states.shape[-1:])).float()
        weights = torch.where(batch.asked, 1.0, _OTHERS_WEIGHT)
        hint = binary_cross_entropy_with_logits(scores, batch.asked.float(), weights, reduction="sum")
        return hint / mean_over_processes(weights.sum())

    def _seen_boxes(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the boxes of what visual tokens show, from states (B, T, C) half way."""
        assert batch.boxes is not None, "comes with what is asked for"
        return self._boxes(states[batch.inputs["input_ids"] == self.image_id], batch.boxes)

    def _told_boxes(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """That of the boxes that tokens of answers are about, from states (B, T, C) one layer later."""
        assert batch.about is not None, "comes with what is asked for"
        return self._boxes(states[:, -batch.tail :].flatten(0, 1), batch.about[:, -batch.tail :].flatten(0, 1))

    def _boxes(self, states: Tensor, boxes: Tensor) -> Tensor:
        """Mean cross-entropy of the edges of boxes (N, 4) in states (N, C); -1: there is none."""
        told = boxes[:, 0] >= 0
        states, boxes = states[told], boxes[told]
        scores = self.steps(rms_norm(states, states.shape[-1:])).float().unflatten(-1, (4, -1)).log_softmax(-1)
        loss = -scores.gather(2, boxes[..., None]).sum() / 4
        return loss / mean_over_processes(told.sum().float()).clamp(min=1)

    def _naming(self, looks: Looks, batch: WrittenBatch) -> Tensor:
        """Mean of minus the logarithm of how much visual tokens look at the words that name what they show.

        Those that no word of the question names are to look elsewhere, and count a fifth.

        Raises:
            ValueError: a batch that does not tell names.
        """
        if batch.words is None:
            raise ValueError("a batch needs to tell the names of what visual tokens show")
        ids = batch.inputs["input_ids"]
        visual = ids == self.image_id
        rows, places = visual.nonzero(as_tuple=True)
        question = ((visual.cumsum(1) == 0) & batch.inputs["attention_mask"].bool())[rows]
        naming = question & (ids[rows][:, :, None] == batch.words[:, None]).any(-1)
        named = naming.any(-1)
        weights = looks.log_weights(ids.shape[1], heads=looks.half)[rows, :, places]
        aims = torch.where(named[:, None], naming, ~question)
        seen = weights.masked_fill(~aims[:, None], -torch.inf).logsumexp(-1).mean(1)
        shares = torch.where(named, 1.0, _OTHERS_WEIGHT)
        return -(seen * shares).sum() / mean_over_processes(shares.sum())

    def _pointing(self, looks: Looks, batch: WrittenBatch) -> Tensor:
        """Mean of minus the logarithm of how much tokens of answers look at the object that they are about."""
        same = self._same(batch)
        told = same.any(-1)
        weights = looks.log_weights(batch.tail, heads=looks.half).transpose(1, 2)[told]
        seen = weights.masked_fill(~same[told][:, None], -torch.inf).logsumexp(-1).mean(1)
        return -seen.sum() / mean_over_processes(told.sum().float()).clamp(min=1)

    def _same(self, batch: WrittenBatch) -> Tensor:
        """Which tokens (B, tail, T) show the object that each of the last ones is about, bool."""
        assert batch.boxes is not None, "comes with what is asked for"
        assert batch.about is not None, "comes with what is asked for"
        about = batch.about[:, -batch.tail :]
        visual = batch.inputs["input_ids"] == self.image_id
        shown = about.new_full((*visual.shape, 4), -1)
        shown[visual] = batch.boxes
        return (about[:, :, None] == shown[:, None]).all(-1) & (about[..., :1] >= 0)

    def _seen_sketches(self, states: Tensor, batch: WrittenBatch) -> Tensor:
        """Loss of the sketches of what visual tokens show, from states (B, T, C) half way."""
        assert batch.sketches is not None, "comes with what is asked for"
        assert batch.boxes is not None, "comes with what is asked for"
        told = batch.boxes[:, 0] >= 0
        return self.drawing.sketched(states[batch.inputs["input_ids"] == self.image_id][told], batch.sketches[told])

    def _drawn(self, states: Sequence[Tensor], batch: WrittenBatch) -> Tensor:
        """Loss of sketches and rows in tokens of answers, from the states (B, T, C) between all layers."""
        assert batch.sketches is not None, "comes with what is asked for"
        assert batch.drawn is not None, "comes with what is asked for"
        visual = batch.inputs["input_ids"] == self.image_id
        shown = batch.sketches.new_zeros(*visual.shape, batch.sketches.shape[1])
        shown[visual] = batch.sketches
        same = self._same(batch)
        rows, places = same.any(-1).nonzero(as_tuple=True)
        sketches = shown[rows, same[rows, places].int().argmax(-1)]
        layers = (self._half, self._half + 1, min(self._half + 2, len(states) - 1))
        half, one, two = (states[layer][:, -batch.tail :][rows, places] for layer in layers)
        numbers = batch.drawn[:, -batch.tail :][rows, places]
        inside = numbers >= 0
        numbers = numbers[inside]
        every = torch.arange(len(numbers), device=numbers.device)
        painted = sketches[inside].unflatten(1, self.drawing.canvas)[every, numbers]
        loss = self.drawing.sketched(one, sketches) + self.drawing.numbered(half[inside], numbers)
        return loss + self.drawing.painted(two[inside], painted)

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
