"""What a user asks, checked and spelled out: one question per image, or several sentences about one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mvplm.data.mapper import SampleMapper
from mvplm.prompts import OBJECT_NAME, clean_text
from mvplm.structures import (
    Batch,
    BoxPrompts,
    Expression,
    Perception,
    PromptedBoxes,
    Record,
    Sample,
    Vocabulary,
)

WORD_TASKS = ("instance", "panoptic", "semantic", "detection", "grounding")
SENTENCE_TASKS = ("referring",)
THING_TASKS = ("instance", "detection")
BOX_TASK = "boxes"


@dataclass(frozen=True)
class Question:
    """What is asked of one image: a list of names, or one expression; with ``boxes``, of what is in them."""

    names: tuple[str, ...] = ()
    isthing: tuple[bool, ...] = ()
    expression: str | None = None
    boxes: BoxPrompts | None = None

    @property
    def nameless(self) -> bool:
        """Whether there are boxes whose name is open: several names are offered, or none."""
        if self.boxes is None or self.expression is not None:
            return False
        return self.boxes.names is None and (len(self.names) > 1 or self.names == (OBJECT_NAME,))

    def labels(self) -> list[int]:
        """Position of each box's name in the list; -1 where it is open."""
        assert self.boxes is not None
        if self.boxes.names is None:
            return [-1 if self.nameless else 0] * len(self.boxes)
        return [self.names.index(clean_text(name)) for name in self.boxes.names]


@dataclass(frozen=True)
class Request:
    """The arguments of ``Perceiver.predict`` that say what is asked.

    Attributes:
        task, classes, text, stuff, boxes: as there.
        fallback: names and flags asked for where ``classes`` could be given and nothing is.

    Raises:
        ValueError: nothing is asked, or things that do not go together.
    """

    task: str | None
    classes: Any
    text: Any
    stuff: Any
    boxes: Any
    fallback: Vocabulary | None = None

    def __post_init__(self) -> None:
        if self.boxes is None and self.fallback is None and (self.classes is None) == (self.text is None):
            raise ValueError("give either classes=[...] or text='...', not both and not neither")
        if self.classes is not None and self.text is not None:
            raise ValueError("give either classes=[...] or text='...', not both")
        if isinstance(self.classes, str):
            raise ValueError(f"classes must be a list of names, got the string {self.classes!r}")
        if self.classes is not None and not len(self.classes):
            raise ValueError("classes is empty: give at least one name")
        if self.text is not None and not len(self.text):
            raise ValueError("text is empty: say what to look for")
        if self.boxes is not None and self.text is not None and not isinstance(self.text, str):
            raise ValueError("boxes take one text, not several")
        choices = (BOX_TASK,) if self.boxes is not None else WORD_TASKS if self.text is None else SENTENCE_TASKS
        if self.task is not None and self.task not in choices:
            asked = "boxes" if self.boxes is not None else "classes" if self.text is None else "text"
            raise ValueError(f"task {self.task!r} does not go with {asked}=; choose one of {', '.join(choices)}")
        object.__setattr__(self, "task", self.task or choices[0])

    def questions(self, count: int, *, several: bool, known_stuff: Collection[str]) -> list[list[Question]]:
        """The questions about each of ``count`` images.

        Args:
            count: number of images. several: whether they were given as a list.
            known_stuff: lower-case names that count as stuff where ``stuff`` does not say.
        """
        if self.boxes is not None:
            return self._about_boxes(count, several)
        if self.text is not None:
            texts = [self.text] if isinstance(self.text, str) else list(self.text)
            return [[Question(expression=expression) for expression in texts]] * count
        lists = self._lists(count, several)
        known = known_stuff if self.stuff is None else {name.lower() for name in cleaned_names(self.stuff, "stuff")}
        questions = []
        for names in lists:
            isthing = tuple(self.task == "grounding" or name.lower() not in known for name in names)
            if self.classes is None and self.stuff is None and self.task != "grounding" and self.fallback is not None:
                isthing = self.fallback.isthing
            if self.task in THING_TASKS and not any(isthing):
                raise ValueError(f"task {self.task!r} looks for things, but all classes are stuff: {', '.join(names)}")
            questions.append([Question(names, isthing)])
        return questions

    def shape(self, answers: Sequence[Sequence[Perception]], *, several: bool) -> Any:
        """Answers per image and question as ``predict`` returns them; ``several``: images were given as a list."""
        one_each = self.text is None or isinstance(self.text, str)
        shaped = [found[0] for found in answers] if one_each else [list(found) for found in answers]
        return shaped if several else shaped[0]

    def _lists(self, count: int, several: bool) -> list[tuple[str, ...]]:
        """Names for each image."""
        if self.classes is None:
            assert self.fallback is not None
            return [self.fallback.names] * count
        nested = bool(self.classes) and not isinstance(self.classes[0], str)
        if nested and (not several or len(self.classes) != count):
            raise ValueError(f"a list of class lists needs one per image: got {len(self.classes)} for {count} image(s)")
        return [cleaned_names(entry) for entry in self.classes] if nested else [cleaned_names(self.classes)] * count

    def _about_boxes(self, count: int, several: bool) -> list[list[Question]]:
        given = list(self.boxes) if several else [self.boxes]
        if len(given) != count:
            raise ValueError(f"a list of images needs boxes for each: got {len(given)} for {count} image(s)")
        prompts = [entry if isinstance(entry, BoxPrompts) else BoxPrompts(entry) for entry in given]
        if self.text is not None:
            return [[Question(expression=self.text, boxes=entry)] for entry in prompts]
        offered = self.classes is not None or self.fallback is not None
        lists = self._lists(count, several) if offered else [()] * count
        questions = []
        for names, entry in zip(lists, prompts, strict=True):
            if entry.names is not None:
                own = [clean_text(name) for name in entry.names]
                names = tuple(dict.fromkeys([*names, *own] if self.classes is not None else own))
            names = names or (OBJECT_NAME,)
            questions.append([Question(names, (True,) * len(names), boxes=entry)])
        return questions


def check_batch_size(given: int | None, usual: int) -> int:
    """What was given, or the usual number. Raises ValueError below 1."""
    size = usual if given is None else given
    if size < 1:
        raise ValueError(f"batch_size must be at least 1, got {size}")
    return size


def cleaned_names(names: Any, what: str = "classes") -> tuple[str, ...]:
    """Names with their whitespace collapsed. Raises ValueError for a bare string, an empty list or an empty name."""
    if isinstance(names, str):
        raise ValueError(f"{what} must be a list of names, got the string {names!r}")
    cleaned = tuple(clean_text(name) for name in names)
    if what == "classes" and not cleaned:
        raise ValueError("classes is empty: give at least one name")
    return cleaned


def make_sample(mapper: SampleMapper, array: np.ndarray, *, question: Question, index: int) -> Sample:
    """The sample of a question about an RGB array (H, W, 3)."""
    size = (int(array.shape[0]), int(array.shape[1]))
    if question.expression is not None:
        record = Record(index, array, size, expressions=(Expression(question.expression, ()),))
        return mapper(record, expression=0)
    return mapper(Record(index, array, size, vocabulary=Vocabulary(question.names, question.isthing)))


def with_boxes(batch: Batch, questions: Sequence[Question]) -> Batch:
    """The batch with the boxes of its questions.

    Raises:
        ValueError: a box is inverted, empty or outside its image.
    """
    boxes = []
    for question, size in zip(questions, batch.original_sizes, strict=True):
        assert question.boxes is not None
        boxes.append(question.boxes.fractions(size))
    return replace(batch, box_prompts=PromptedBoxes.of(boxes, [question.labels() for question in questions]))


def with_every_name(perception: Perception, question: Question) -> Perception:
    """The answer with the names that were asked; a prompt about things leaves those of stuff out."""
    if question.expression is not None or len(perception.query) == len(question.names):
        return perception
    instances = perception.instances
    assert instances is not None
    places = torch.tensor([place for place, isthing in enumerate(question.isthing) if isthing])
    moved = replace(instances, class_index=places[instances.class_index])
    return replace(perception, query=list(question.names), instances=moved)
