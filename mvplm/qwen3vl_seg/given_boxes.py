"""Masks of boxes that a user gives: the answer is written for the model, which reads it once for the mask states."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mvplm.models.qwen3vl_seg.parse import ParsedBoxes
from mvplm.models.qwen3vl_seg.reading import decode_answers, perceive_boxes
from mvplm.models.qwen3vl_seg.writing import WrittenBoxes, read_after, read_answers
from mvplm.models.text_mask.reading import Asked
from mvplm.prompts.box_masks import FORM_OF_TASK, answer_ids, answer_order, box_question, clean_label, format_boxes
from mvplm.questions import BOX_TASK, Question
from mvplm.structures import BoxFormat, Perception, convert_boxes
from mvplm.structures.boxes import clip_boxes
from mvplm.structures.written import Turn, WrittenSample


def perceive_given(
    perceiver: Any, rows: Sequence[tuple[np.ndarray, Question]], *, seen: Any = None
) -> list[Perception]:
    """One instance for every box of every question, in their order; decoded jointly, in one pass of the base model.

    Args:
        perceiver: a ``BoxPerceiver``. rows: pictures (H, W, 3) and questions with boxes.
        seen: the picture, where it was read before.

    Raises:
        ValueError: boxes without names where several names are offered, or boxes that are none of the image.
    """
    started = time.perf_counter()
    asked = [_GivenBoxes(array, question, perceiver=perceiver) for array, question in rows]
    with perceiver.autocast():
        answers = _read(perceiver, asked, seen=seen)
        read = decode_answers(
            perceiver.model.mask_decoder,
            answers,
            parsed=[entry.parsed() for entry in asked],
            sizes=[entry.size for entry in asked],
            texts=[entry.text for entry in asked],
        )
    looked = time.perf_counter() - started
    threshold = perceiver.config.box_mask.mask_threshold
    found = [
        perceive_boxes(entry, given.asked(), threshold=threshold, ranked=False)
        for entry, given in zip(read, asked, strict=True)
    ]
    perceiver.finish(found, looked=looked, read=time.perf_counter() - started - looked)
    return found


def _read(perceiver: Any, asked: "Sequence[_GivenBoxes]", *, seen: Any) -> list[WrittenBoxes]:
    samples = [entry.sample for entry in asked]
    writing = perceiver.writing(samples)
    if seen is not None:
        return [
            read_after(
                perceiver.model.base, seen.prefix, ids=perceiver.tail(entry.sample), answer=entry.ids, writing=writing
            )
            for entry in asked
        ]
    batch = perceiver.collate(samples).to(perceiver.device)
    return read_answers(perceiver.model.base, batch.inputs, answers=[entry.ids for entry in asked], writing=writing)


class _GivenBoxes:
    """The boxes of one question, and the answer that names them.

    Attributes:
        order: places of the boxes as the answer names them.
    """

    def __init__(self, array: np.ndarray, question: Question, *, perceiver: Any) -> None:
        assert question.boxes is not None
        self.size = (int(array.shape[0]), int(array.shape[1]))
        question.boxes.fractions(self.size)  # raises for boxes that are none of the image
        pixels = convert_boxes(question.boxes.boxes, question.boxes.format, target=BoxFormat.XYXY_ABS, size=self.size)
        self.boxes = clip_boxes(pixels, self.size)
        self.names = question.names if question.expression is None else (question.expression,)
        self.labels = self._labels(question)
        ranks = [self.names.index(label) for label in self.labels]
        self.order = answer_order(self.boxes, ranks)
        written = [clean_label(self.labels[place]) for place in self.order]
        self.text = format_boxes(self.boxes[self.order], written, size=self.size)
        self.ids = answer_ids(self.text, perceiver.system.tokenizer)
        form = "category" if question.expression is None else FORM_OF_TASK["referring"]
        asked = box_question(form, text=question.expression or "", classes=question.names)
        image = torch.from_numpy(array).permute(2, 0, 1).contiguous()
        self.sample = WrittenSample(image, "picture", form, (Turn(asked, tuple(self.ids), self.names),))

    def _labels(self, question: Question) -> list[str]:
        assert question.boxes is not None
        if question.expression is not None:
            return [question.expression] * len(question.boxes)
        if question.nameless and len(self.names) > 1:
            raise ValueError(
                "several classes leave open what is in a box: give BoxPrompts(boxes, names) with a name for each box"
            )
        return [self.names[max(label, 0)] for label in question.labels()]

    def parsed(self) -> ParsedBoxes:
        """What the answer says, with the boxes as they were given: exact, in their order."""
        places = {place: token for token, place in enumerate(self.order)}
        index: list[int | None] = [places[place] for place in range(len(self.boxes))]
        return ParsedBoxes(self.boxes.float(), list(self.labels), "ok", index, {})

    def asked(self) -> Asked:
        """What the answer is about."""
        return Asked(BOX_TASK, self.size, self.names, isthing=(True,) * len(self.names), listed=True)
