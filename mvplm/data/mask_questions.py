"""From a record to questions whose answers are masks as text. Source: Text4Seg and Text4Seg++, instruction data."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mvplm.data.unify import expression_indices
from mvplm.prompts.mask_tasks import BOX_FORMS, CAPTION_QUESTION, NAME_FORMS, ROI_FORMS, mask_question
from mvplm.structures import Annotation, Record
from mvplm.structures.masks import decode_mask
from mvplm.textmask import Codec, IsdCodec
from mvplm.textmask.codecs import visible

_FITTING = {"refer.general": "gres", "remote.reason": "gres", "ground": "rec", "reason.single": "rec"}


@dataclass(frozen=True)
class AnsweredQuestion:
    """A question, and what is true.

    Attributes:
        question: as the model reads it. answer: as the model is to write it; None where the truth is not asked for.
        names: names of classes, or the expression.
        labels: N labels of the answer. masks: (N, H, W) bool. vanished: targets that are left out, see ``visible``.
    """

    question: str
    answer: str | None
    names: tuple[str, ...]
    labels: tuple[str, ...] = ()
    masks: np.ndarray | None = None
    vanished: int = 0


@dataclass(frozen=True)
class QuestionMaker:
    """Makes the questions of one form.

    Attributes:
        codec: spells the answers. form: kind of question, see ``mvplm.prompts.mask_tasks``.
        training: draw lists of names; otherwise all names of the record are asked for. answered: tell the truth, too.
    """

    codec: Codec
    form: str
    training: bool
    answered: bool

    def __post_init__(self) -> None:
        if self.form in BOX_FORMS and isinstance(self.codec, IsdCodec):
            raise ValueError(f"{self.form} asks for boxes, and {self.codec.name} writes none; use a box-wise codec")

    def places(self, record: Record) -> list[int]:
        """Positions of the expressions (or answered questions) that fit the form; empty where it needs none."""
        if self.form == "vqa":
            return list(range(len(record.exchanges)))
        if self.form in NAME_FORMS:
            return []
        return expression_indices(record, _FITTING.get(self.form, "res"))

    def __call__(
        self, record: Record, *, rng: random.Random, expression: int | None = None, wording: int = 0
    ) -> AnsweredQuestion:
        """One question about a record.

        Args:
            record: with masks of its objects where the answer is told. rng: source of every draw.
            expression: position in ``record.expressions`` for forms with an expression, in ``record.exchanges`` for
                "vqa". wording: see ``mask_question``.

        Raises:
            ValueError: the record lacks what the form needs, or nothing of its targets can be seen on the grid.
        """
        if self.form == "vqa":
            return self._told(record, rng, place=expression)
        if self.form in NAME_FORMS:
            return self._named(record, rng, wording=wording)
        if expression is None:
            raise ValueError(f"image {record.image_id}: {self.form} needs an expression")
        asked = record.expressions[expression]
        question = mask_question(self.form, text=asked.text, wording=wording)
        if not self.answered:
            return AnsweredQuestion(question, None, (asked.text,))
        targets = [record.annotations[place] for place in asked.targets]
        return self._answer(question, (asked.text,), record=record, found=[(asked.text, target) for target in targets])

    def _told(self, record: Record, rng: random.Random, *, place: int | None) -> AnsweredQuestion:
        """One of the questions that a record has answers to, or its description."""
        if place is not None:
            asked = record.exchanges[place]
            return AnsweredQuestion(asked.question, asked.answer if self.answered else None, ())
        if not self.answered:
            return AnsweredQuestion(CAPTION_QUESTION, None, ())
        if not record.captions:
            raise ValueError(f"image {record.image_id}: no caption and no answer to learn from")
        return AnsweredQuestion(CAPTION_QUESTION, rng.choice(record.captions), ())

    def _named(self, record: Record, rng: random.Random, *, wording: int) -> AnsweredQuestion:
        if record.vocabulary is None:
            raise ValueError(f"image {record.image_id}: {self.form} needs a list of names")
        names = record.vocabulary.names
        objects = [a for a in record.annotations if a.label is not None and not a.iscrowd]
        asked = names
        if self.training and self.form != "semantic.all":
            asked = drawn_names(names, sorted({names[a.label or 0] for a in objects}), form=self.form, rng=rng)
        question = mask_question(self.form, classes=asked, wording=wording)
        if not self.answered:
            return AnsweredQuestion(question, None, tuple(asked))
        found = [(names[a.label or 0], a) for a in objects if names[a.label or 0] in asked]
        return self._answer(question, tuple(asked), record=record, found=found)

    def _answer(
        self,
        question: str,
        names: tuple[str, ...],
        *,
        record: Record,
        found: Sequence[tuple[str, Annotation]],
    ) -> AnsweredQuestion:
        masks = np.zeros((len(found), *record.size), bool)
        for mask, (_, annotation) in zip(masks, found, strict=True):
            if annotation.segmentation is None:
                raise ValueError(f"image {record.image_id}: {self.form} needs the masks of all objects")
            mask[:] = decode_mask(annotation.segmentation, record.size)
        kept = visible(masks, self.codec)
        vanished = int((~kept).sum())
        if len(kept) and not kept.any():
            raise ValueError(f"image {record.image_id}: nothing of what {question!r} asks for can be seen on the grid")
        labels = tuple(label for (label, _), seen in zip(found, kept, strict=True) if seen)
        answer = self._spell(masks[kept], labels, asked=names)
        return AnsweredQuestion(question, answer, names, labels, masks[kept], vanished)

    def _spell(self, masks: np.ndarray, labels: Sequence[str], *, asked: Sequence[str]) -> str:
        codec: Any = self.codec
        roi = self.form in ROI_FORMS
        if isinstance(codec, IsdCodec):
            return codec.encode(masks, [f"roi{place}" for place in range(len(labels))] if roi else list(labels))
        if roi:
            return str(replace(codec, roi=True).encode(masks))
        return str(codec.encode(masks, list(labels), question=list(asked), box_only=self.form in BOX_FORMS))


def drawn_names(names: Sequence[str], present: Sequence[str], *, form: str, rng: random.Random) -> tuple[str, ...]:
    """The shuffled list of a training question: a part of what is present, mixed with what is not.

    With probability 0.9 (partial lists and boxes: 0.5) up to as many absent names join as are missing from the present
    ones (boxes: as are present); lists for the whole image end up with "others" in half of the cases.
    """
    asked = rng.sample(list(present), rng.randint(1, len(present))) if present else []
    absent = [name for name in names if name not in present]
    if absent and (not asked or rng.random() < (0.9 if form == "semantic.conditional" else 0.5)):
        most = len(present) if form == "detect" else len(names) - len(present)
        asked += rng.sample(absent, rng.randint(1, max(1, min(len(absent), most))))
    if form == "semantic.conditional" and rng.random() < 0.5 and "others" not in asked:
        asked.append("others")
    rng.shuffle(asked)
    return tuple(asked)
