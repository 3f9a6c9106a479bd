"""From a record to a sample for models that write boxes and turn them into masks."""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mvplm.data.box_questions import BoxQuestion, BoxQuestionMaker, Choice
from mvplm.data.guided_boxes import BoxMix
from mvplm.data.mask_mapper import picture_of
from mvplm.prompts.box_masks import answer_ids, format_boxes, thousandths
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures import Annotation, BoxFormat, Record, convert_boxes
from mvplm.structures.guided import GuidedBatch, GuidedSample, GuidedTarget
from mvplm.structures.masks import decode_mask
from mvplm.structures.written import Turn, WrittenBatch, WrittenSample


class GuidedMapper:
    """Makes samples of one form of question, answers included.

    Answers name the true boxes; what the mask decoder is given is drawn for each instance. The random generator of a
    sample is seeded by (seed, epoch, index) alone.

    Args:
        maker: makes the questions. tokenizer: plain, with the mask tokens.
        task: public task, for what asks a mapper for it.
        boxes: shares of the kinds of boxes for the decoder.
        written: boxes that a model wrote before, by image id; see ``read_written_boxes``.
        most_masks: masks learned per sample; of more, so many are drawn. Answers keep all boxes.
        max_length: most ids of the questions and answers of a sample; questions that do not fit are left out.
        tells_drawn: answers name the boxes that are drawn instead: a model that is measured must not see the true ones.
        seed: base of all draws.
    """

    def __init__(
        self,
        maker: BoxQuestionMaker,
        tokenizer: PlainTokenizer,
        *,
        task: str,
        boxes: BoxMix,
        written: Mapping[str, Tensor] | None = None,
        most_masks: int = 8,
        max_length: int = 4096,
        tells_drawn: bool = False,
        seed: int = 0,
    ) -> None:
        self.maker = maker
        self.tokenizer = tokenizer
        self.task = task
        self.boxes = boxes
        self.written = dict(written or {})
        self.most_masks = most_masks
        self.max_length = max_length
        self.tells_drawn = tells_drawn
        self.seed = seed

    def __call__(
        self, record: Record, *, epoch: int = 0, index: int = 0, expression: int | None = None
    ) -> GuidedSample:
        """The sample with one question; ``expression`` None draws what is asked.

        Raises:
            ValueError: the record does not fit the form, its picture cannot be read, or the answer is too long.
        """
        rng = random.Random(f"{self.seed}-{epoch}-{index}")
        choices: list[Choice] = [expression] if expression is not None else self.maker.choices(record, rng=rng)
        return self._sample(record, choices[:1], rng=rng)

    def several(self, record: Record, *, epoch: int = 0, index: int = 0, count: int) -> list[GuidedSample]:
        """One sample with up to ``count`` questions about the picture, one after the other.

        Raises:
            ValueError: no question fits.
        """
        rng = random.Random(f"{self.seed}-{epoch}-{index}-several")
        return [self._sample(record, self.maker.choices(record, rng=rng, count=count), rng=rng)]

    def _sample(self, record: Record, choices: Sequence[Choice], *, rng: random.Random) -> GuidedSample:
        turns: list[Turn] = []
        objects: list[Annotation] = []
        drawn: list[Tensor] = []
        room = self.max_length
        for choice in choices:
            asked = self.maker(record, choice, rng=rng)
            boxes = self._drawn(record, asked.objects, rng=rng)
            turn = self._turn(record, asked, drawn=boxes)
            length = len(self.tokenizer.encode(turn.question)) + len(turn.answer or ())
            if length > room:
                continue
            room -= length
            turns.append(turn)
            if self.maker.masked:
                objects += asked.objects
                drawn.append(boxes)
        if not turns:
            raise ValueError(f"image {record.image_id}: no question fits into {self.max_length} ids")
        boxes = torch.cat(drawn) if drawn else torch.zeros(0, 4)
        target = self._target(record, objects, boxes=boxes, rng=rng)
        return GuidedSample(picture_of(record), record.image_id, self.maker.form, tuple(turns), target)

    def _drawn(self, record: Record, objects: Sequence[Annotation], *, rng: random.Random) -> Tensor:
        """What the mask decoder is given for objects: (k, 4) XYXY_NORM."""
        true = thousandths(_corners(objects), record.size).float() / 1000
        return self.boxes.draw(true, rng=rng, written=self.written.get(str(record.image_id)))

    def _turn(self, record: Record, asked: BoxQuestion, *, drawn: Tensor) -> Turn:
        said = asked.said
        if said is None:
            boxes = _corners(asked.objects)
            if self.tells_drawn:
                boxes = convert_boxes(drawn.double(), BoxFormat.XYXY_NORM, target=BoxFormat.XYXY_ABS, size=record.size)
            said = format_boxes(boxes, asked.labels, size=record.size, masks=self.maker.masked)
        return Turn(asked.text, tuple(answer_ids(said, self.tokenizer)), asked.names)

    def _target(
        self, record: Record, objects: Sequence[Annotation], *, boxes: Tensor, rng: random.Random
    ) -> GuidedTarget:
        """The instances whose masks are learned; each object of the sample has one mask token, in order."""
        tokens = sorted(rng.sample(range(len(objects)), min(self.most_masks, len(objects))))
        masks = torch.zeros(len(tokens), *record.size, dtype=torch.bool)
        for mask, token in zip(masks, tokens, strict=True):
            segmentation = objects[token].segmentation
            if segmentation is not None:
                mask.copy_(torch.from_numpy(decode_mask(segmentation, record.size)))
        return GuidedTarget(boxes[tokens], masks, torch.tensor(tokens, dtype=torch.int64))


class GuidedCollate:
    """Makes batches of samples with instances.

    Args:
        written: makes batches of pictures and text.
    """

    def __init__(self, written: Callable[[Sequence[WrittenSample]], WrittenBatch]) -> None:
        self.written = written

    def __call__(self, samples: Sequence[GuidedSample]) -> GuidedBatch:
        """The batch; errors as for ``written``."""
        return GuidedBatch(self.written(samples), [sample.target for sample in samples])


def _corners(objects: Sequence[Any]) -> Tensor:
    return torch.tensor([annotation.box for annotation in objects], dtype=torch.float64).reshape(-1, 4)
