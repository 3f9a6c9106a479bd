"""Masks of given boxes, measured as those of written ones are: how good is the mask decoder where boxes are right?"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mvplm.data.box_questions import BoxQuestionMaker
from mvplm.data.guided_boxes import BoxMix
from mvplm.data.guided_mapper import GuidedCollate, GuidedMapper
from mvplm.prompts.box_masks import FORM_OF_TASK
from mvplm.structures import BoxFormat, Instances, Perception, convert_boxes
from mvplm.structures.guided import GuidedBatch, GuidedOutput


@dataclass(frozen=True)
class LookedGiven:
    """A batch with the boxes that were given, their masks, and the seconds that took."""

    batch: GuidedBatch
    output: GuidedOutput
    seconds: float


class GivenBoxPerceiver:
    """A perceiver that is told boxes: the true ones, or true ones with shifted edges.

    The model reads the answer that names these boxes, in one pass, and its mask decoder gets the same boxes. The number
    of objects and their labels are the true ones.

    Args:
        perceiver: a ``BoxPerceiver``. boxes: "gt" or "jitter". form: kind of question; None takes the task's own.
    """

    def __init__(self, perceiver: Any, boxes: str, *, form: str | None = None) -> None:
        self.model, self.system, self.config = perceiver.model, perceiver.system, perceiver.config
        self.dtype, self.device = perceiver.dtype, perceiver.device
        self.boxes = boxes
        self.form = form
        self.collate = GuidedCollate(perceiver.collate)

    def mapper(self, task: str, mode: str | None = None, *, sentences: str | None = None) -> GuidedMapper:
        """The mapper from records to samples with the answer that names the boxes."""
        settings = self.config.box_mask
        form = self.form or FORM_OF_TASK[sentences or task]
        return GuidedMapper(
            BoxQuestionMaker(form, training=False, most_objects=settings.max_instances),
            self.system.tokenizer,
            task=sentences or task,
            boxes=BoxMix(float(self.boxes == "gt"), float(self.boxes == "jitter"), 0, amount=settings.jitter),
            most_masks=settings.max_instances,
            max_length=settings.max_length,
            tells_drawn=True,
        )

    def look(self, batch: GuidedBatch) -> LookedGiven:
        """Masks of the boxes of a batch."""
        started = time.perf_counter()
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16"),
        ):
            output = self.model(batch.to(self.device))
        return LookedGiven(batch, output, time.perf_counter() - started)

    def answer(
        self, looked: LookedGiven, *, task: str, isthing: Sequence[Sequence[bool]] | None = None
    ) -> list[Perception]:
        """The masks as instances, per row, in the order of the answer."""
        found = []
        sizes = looked.batch.written.original_sizes
        for sample, target, decoded, size in zip(
            looked.batch.written.samples, looked.batch.targets, looked.output.decoded, sizes, strict=True
        ):
            names = sample.turns[-1].names
            answer = Perception(size, "referring", list(names), no_target=not len(target))
            boxes = convert_boxes(target.boxes, BoxFormat.XYXY_NORM, target=BoxFormat.XYXY_ABS, size=size)
            empty = decoded is None
            answer.instances = Instances(
                boxes=boxes.cpu(),
                scores=torch.zeros(0) if empty else decoded.scores.float().cpu(),
                labels=[", ".join(names)] * len(target),
                class_index=torch.zeros(len(target), dtype=torch.int64),
                masks=torch.zeros(0, *size, dtype=torch.bool) if empty else decoded.masks(size).cpu(),
            )
            answer.presence = float(len(target) > 0)
            answer.timings = {"model": looked.seconds / len(sizes)}
            found.append(answer)
        return found
