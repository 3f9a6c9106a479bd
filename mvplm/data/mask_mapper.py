"""From a record to a sample with questions and answers as ids."""

import random
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvplm.data.images import load_image
from mvplm.data.mask_questions import AnsweredQuestion, QuestionMaker
from mvplm.data.named_objects import named_objects
from mvplm.prompts.mask_tasks import TEMPLATES, wording_of
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures import Record
from mvplm.structures.choices import check_choice
from mvplm.structures.written import Turn, WrittenSample
from mvplm.textmask import BsdCodec, Codec, IsdCodec
from mvplm.textmask.whereabouts import boxes_of_tokens, rows_of_tokens

HINTS = ("shown", "boxes", "names", "sketches")


class MaskTextMapper:
    """Makes samples of one form of question.

    The random generator of a sample is seeded by (seed, epoch, index) alone.

    Args:
        maker: makes the questions; in training its answers become ids.
        tokenizer: plain, with the tokens of the codec.
        task: public task, for what asks a mapper for it.
        wordings: so many wordings are used in training; evaluation uses the first.
        max_length: most ids of questions and answers of a sample; questions that do not fit are left out.
        seed: base of all draws.
        hints: of ``HINTS``, what to tell beside answers. "shown": where what is asked for can be seen; "boxes": its
            boxes, in steps of a codec of boxes, and which of them each token of an answer is about; "names": the names
            and masks of all objects; "sketches": what is painted on the canvases of what is asked for, and which row of
            them is written behind each token of an answer.
        answers: tell answers; False leaves them open.
        apart: several questions become a sample each, which share the picture. pictures: they are shown.

    Attributes:
        vanished: targets left out so far because nothing of them is seen on the grid.
    """

    def __init__(
        self,
        maker: QuestionMaker,
        tokenizer: PlainTokenizer,
        *,
        task: str,
        wordings: int = 3,
        max_length: int = 4096,
        seed: int = 0,
        hints: Collection[str] = (),
        answers: bool = True,
        apart: bool = False,
        pictures: bool = True,
    ) -> None:
        self.maker = maker
        self.tokenizer = tokenizer
        self.task = task
        self.wordings = wordings
        self.max_length = max_length
        self.seed = seed
        self.hints = frozenset(check_choice("hint", hint, choices=HINTS) for hint in hints)
        self.answers = answers
        self.apart = apart
        self.pictures = pictures
        self.vanished = 0

    def __call__(
        self, record: Record, *, epoch: int = 0, index: int = 0, expression: int | None = None
    ) -> WrittenSample:
        """The sample with one question; ``expression`` None draws one where the form needs it.

        Raises:
            ValueError: the record does not fit the form, its picture cannot be read, or the answer is too long.
        """
        rng = random.Random(f"{self.seed}-{epoch}-{index}")
        if expression is None and (fitting := self.maker.places(record)):
            expression = rng.choice(fitting)
        return self._samples(record, [[self.turn(record, rng=rng, expression=expression)]])[0]

    def several(self, record: Record, *, epoch: int = 0, index: int = 0, count: int) -> list[WrittenSample]:
        """Samples with up to ``count`` questions about the picture.

        They follow each other in one sample, with open answers only one; or, ``apart``, have a sample each.

        Raises:
            ValueError: no question fits; the message is that of the first.
        """
        count = count if self.answers or self.apart else 1
        rng = random.Random(f"{self.seed}-{epoch}-{index}-several")
        fitting = self.maker.places(record)
        chosen: list[int | None] = [*rng.sample(fitting, min(count, len(fitting)))] if fitting else [None] * count
        turns: list[Turn] = []
        first: ValueError | None = None
        room = self.max_length * (count if self.apart else 1)
        for expression in chosen:
            try:
                turn = self.turn(record, rng=rng, expression=expression)
            except ValueError as error:
                first = first or error
                continue
            size = len(self.tokenizer.encode(turn.question)) + len(turn.answer or ())
            if size <= room:
                turns.append(turn)
                room -= size
        if not turns:
            raise first or ValueError(f"image {record.image_id}: no question fits into {self.max_length} ids")
        return self._samples(record, [[turn] for turn in turns] if self.apart else [turns])

    def turn(self, record: Record, *, rng: random.Random, expression: int | None) -> Turn:
        """One question with the ids of its answer where it is told."""
        made = self.ask(record, rng=rng, expression=expression)
        self.vanished += made.vanished
        answer = None
        if self.answers and made.answer is not None:
            answer = tuple(answer_ids(made.answer, self.tokenizer, codec=self.maker.codec))
        if answer is not None and len(answer) > self.max_length:
            raise ValueError(f"image {record.image_id}: an answer of {len(answer)} ids, at most {self.max_length} fit")
        shown = torch.from_numpy(made.masks) if "shown" in self.hints and made.masks is not None else None
        return Turn(
            made.question,
            answer,
            made.names,
            shown,
            self._boxes(made.masks),
            self._about(answer),
            **self._drawn(made.masks, answer),
        )

    def _boxes(self, masks: np.ndarray | None) -> Tensor | None:
        if masks is None or "boxes" not in self.hints or not isinstance(self.maker.codec, BsdCodec):
            return None
        return torch.from_numpy(self.maker.codec.spelled_boxes(masks)) if len(masks) else torch.zeros(0, 4).long()

    def _about(self, answer: tuple[int, ...] | None) -> Tensor | None:
        if answer is None or "boxes" not in self.hints:
            return None
        return torch.from_numpy(boxes_of_tokens(list(answer), self.tokenizer))

    def _drawn(self, masks: np.ndarray | None, answer: tuple[int, ...] | None) -> dict[str, Tensor]:
        codec = self.maker.codec
        if "sketches" not in self.hints or not isinstance(codec, BsdCodec):
            return {}
        found: dict[str, Tensor] = {}
        if masks is not None and self.pictures:
            found["sketches"] = torch.from_numpy(codec.sketches(masks)).flatten(1)
        if answer is not None:
            found["drawn"] = torch.from_numpy(rows_of_tokens(list(answer), self.tokenizer, canvas=codec.grid))
        return found

    def ask(self, record: Record, *, rng: random.Random, expression: int | None) -> AnsweredQuestion:
        """One question and its answer as text."""
        wording = 0
        if self.maker.training:
            sample_id = f"{record.source}-{record.image_id}-{expression}-{self.maker.form}"
            wording = wording_of(sample_id, min(self.wordings, len(TEMPLATES[self.maker.form])))
        return self.maker(record, rng=rng, expression=expression, wording=wording)

    def _samples(self, record: Record, parts: Sequence[Sequence[Turn]]) -> list[WrittenSample]:
        """A sample for each part of the turns; all hold the same picture."""
        picture = picture_of(record)
        objects = named_objects(record, self.tokenizer) if "names" in self.hints else None
        made = partial(
            WrittenSample, picture, record.image_id, self.maker.form, objects=objects, pictured=self.pictures
        )
        return [made(tuple(turns)) for turns in parts]


def answer_ids(text: str, tokenizer: Any, *, codec: Codec) -> list[int]:
    """Ids of an answer, spelled as the codec reads them."""
    if isinstance(codec, IsdCodec):
        return list(tokenizer.encode(text, add_special_tokens=False))
    return codec.spell(text, tokenizer)


def picture_of(record: Record) -> Tensor:
    """The picture of a record, uint8 (3, H, W) at its original size.

    Raises:
        ValueError: it cannot be read, or has another size than the record says.
    """
    image = load_image(record.image)
    if image.shape[:2] != tuple(record.size):
        raise ValueError(
            f"image {record.image_id}: the picture has size {image.shape[:2]}, the record says {tuple(record.size)}"
        )
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()
