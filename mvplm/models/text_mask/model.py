"""Any multimodal language model as a segmenter: it learns to write answers that a codec turns into masks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.models.text_mask.constraint import AnswerConstraints
from mvplm.models.text_mask.pictures import ReadPictures, positions_of, read_pictures
from mvplm.models.text_mask.scores import instance_scores
from mvplm.models.text_mask.writing import WritingLimits, Written, write
from mvplm.structures.processes import mean_over_processes
from mvplm.structures.written import AskedBatch, WrittenBatch
from mvplm.textmask import Codec, TextMaskResult
from mvplm.textmask.confidence import MaskConfidence

_IGNORED = -100


def answer_loss(model: nn.Module, batch: WrittenBatch) -> Tensor:
    """Mean cross-entropy of the ids and end tokens of answers, a scalar; every token counts the same.

    Args:
        model: of ``AutoModelForImageTextToText``, or one with adapters. batch: with answers.

    Raises:
        ValueError: a batch with open answers.
    """
    return loss_of_output(read_rows(model, batch), batch)


def read_rows(model: nn.Module, batch: WrittenBatch, **options: Any) -> Any:
    """What a model gives for whole rows, with logits for their last ``batch.tail + 1`` tokens."""
    return model(
        **batch.inputs,
        position_ids=positions_of(model, batch.inputs["attention_mask"]),
        logits_to_keep=batch.tail + 1,
        use_cache=False,
        **options,
    )


def loss_of_output(output: Any, batch: WrittenBatch, *, weights: Tensor | None = None) -> Tensor:
    """:func:`answer_loss` from what :func:`read_rows` gave.

    Args:
        output: what it gave. batch: with answers.
        weights: (V,) float, how much each token of the vocabulary counts; None: all the same.

    Raises:
        ValueError: a batch with open answers.
    """
    if batch.labels is None:
        raise ValueError("a batch with open answers cannot be learned from")
    logits = output.logits[:, :-1].float()
    labels = batch.labels[:, -batch.tail :]
    total = nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), weights, ignore_index=_IGNORED, reduction="sum"
    )
    learned = labels[labels != _IGNORED]
    count = torch.ones_like(learned, dtype=torch.float32) if weights is None else weights[learned]
    return total / mean_over_processes(count.sum())


class TextMaskModel(nn.Module):
    """A model of ``AutoModelForImageTextToText`` with the codec of its answers.

    Source: Text4Seg and Text4Seg++, next-token prediction of masks as text.

    Args:
        model: the multimodal language model, or one with adapters.
        codec: how masks are spelled.
        tokenizer: its tokenizer, plain; has the tokens of the codec.
        ends: ids that end an answer; the first is the one that is learned.
    """

    def __init__(self, model: nn.Module, *, codec: Codec, tokenizer: Any, ends: Sequence[int]) -> None:
        super().__init__()
        self.model = model
        self.codec = codec
        self.tokenizer = tokenizer
        self.ends = tuple(ends)
        self.constraints = AnswerConstraints(codec, tokenizer, ends=self.ends)

    def caption_loss(self, batch: WrittenBatch) -> Tensor:
        """Mean cross-entropy of the answers' ids and end tokens, a scalar; the trainer calls it for text.

        Every token counts the same, in whatever process it is.
        """
        return answer_loss(self.model, batch)

    def look(self, batch: AskedBatch) -> ReadPictures:
        """Read the pictures of a batch, once for all of its questions."""
        return read_pictures(self.model, batch.inputs)

    def write(
        self,
        batch: AskedBatch,
        *,
        max_new_tokens: int,
        constrained: bool = True,
        jump: bool = True,
        pictures: ReadPictures | None = None,
    ) -> list[Written]:
        """Greedy answers of a batch.

        Args:
            batch: B questions. max_new_tokens: most tokens of an answer, its end included.
            constrained: only answers that the codec writes. jump: do not ask for tokens without a choice.
            pictures: of the batch, when they are read already.

        Raises:
            ValueError: no answer is as short as ``max_new_tokens``.
        """
        constraints = [
            self.constraints(sample.form, sample.turns[-1].names, max_new_tokens=max_new_tokens)
            if constrained
            else None
            for sample in batch.samples
        ]
        return write(
            self.model,
            self.look(batch) if pictures is None else pictures,
            rows=batch.rows,
            questions=batch.questions,
            constraints=constraints,
            limits=WritingLimits(self.ends, max_new_tokens, jump),
        )

    def read(self, written: Written, size: tuple[int, int], **options: Any) -> TextMaskResult:
        """Masks of an answer at (H, W); options as for the codec's ``decode_ids``."""
        return self.codec.decode_ids(written.ids, size, tokenizer=self.tokenizer, **options)

    def scores(self, written: Written, result: TextMaskResult) -> list[MaskConfidence]:
        """How sure the model was of every block of an answer."""
        return instance_scores(written, result, codec=self.codec, tokenizer=self.tokenizer)
