"""From a record to a question whose answer names boxes. Source: Qwen3-VL-Seg, instruction data; draws are ours."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvplm.data.unify import expression_indices
from mvplm.prompts.box_masks import CLASS_SEPARATOR, answer_order, box_question, clean_label
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import mask_area

_FITTING = {"description": "rec", "rec": "rec", "reason": "res", "general": "gres"}
Choice = int | tuple[str, ...] | None
"""What is asked about a record: the place of an expression, names, or nothing in particular."""


@dataclass(frozen=True)
class BoxQuestion:
    """A question and what is true.

    Attributes:
        text: as the model reads it. names: names of classes, or the expression.
        objects: what fits, in the order of the answer. labels: of the objects, as the answer says them.
        said: the answer where it is plain text.
    """

    text: str
    names: tuple[str, ...]
    objects: tuple[Annotation, ...] = ()
    labels: tuple[str, ...] = ()
    said: str | None = None


@dataclass(frozen=True)
class BoxQuestionMaker:
    """Makes questions of one form, see ``mvplm.prompts.box_masks``.

    Attributes:
        form: kind of question. training: draw the names that are asked for; otherwise all that are there are.
        most_names: names in one question at most. most_objects: objects in one answer at most; more are left out.
        negatives: probability of asking for a name that is not there.
    """

    form: str
    training: bool = True
    most_names: int = 4
    most_objects: int = 32
    negatives: float = 0.05

    @property
    def masked(self) -> bool:
        """Whether objects of an answer ask for masks."""
        return self.form not in ("rec", "vqa")

    def choices(self, record: Record, *, rng: random.Random, count: int = 1) -> list[Choice]:
        """Up to ``count`` things to ask about a record, drawn.

        Raises:
            ValueError: nothing in the record fits the form.
        """
        if self.form == "vqa":
            return [None]
        found: list[Choice] = []
        if self.form == "category":
            found += self._names(record, rng, count=count)
        else:
            fitting = expression_indices(record, _FITTING[self.form])
            found += rng.sample(fitting, min(count, len(fitting)))
        if not found:
            raise ValueError(f"image {record.image_id}: nothing to ask with form {self.form!r}")
        return found

    def __call__(self, record: Record, choice: Choice, *, rng: random.Random) -> BoxQuestion:
        """The question about a choice of :meth:`choices`.

        Raises:
            ValueError: the record lacks what the form needs; the message names the image.
        """
        if choice is None:
            if not record.captions:
                raise ValueError(f"image {record.image_id}: no caption to learn from")
            return BoxQuestion(box_question("vqa", text="Describe the image."), (), said=rng.choice(record.captions))
        if isinstance(choice, int):
            expression = record.expressions[choice]
            if self.form == "category":
                return self(record, listed_names(record, expression), rng=rng)
            question = box_question(self.form, text=expression.text)
            chosen = [record.annotations[place] for place in expression.targets]
            labels = [_name(record, annotation) or clean_label(expression.text) for annotation in chosen]
            return self._answered(record, question, names=(expression.text,), found=chosen, labels=labels)
        question = box_question("category", classes=choice)
        asked = {clean_label(name) for name in choice}
        chosen = [a for a in record.annotations if not a.iscrowd and _name(record, a) in asked]
        labels = [_name(record, annotation) or "" for annotation in chosen]
        return self._answered(record, question, names=choice, found=chosen, labels=labels)

    def _names(self, record: Record, rng: random.Random, *, count: int) -> list[tuple[str, ...]]:
        """Groups of names to ask for, no name twice."""
        if record.vocabulary is None:
            raise ValueError(f"image {record.image_id}: questions about categories need a list of names")
        vocabulary = record.vocabulary.names
        objects = [a for a in record.annotations if a.label is not None and not a.iscrowd and self._seen(record, a)]
        places = dict.fromkeys(a.label for a in objects if a.label is not None)
        if not self.training:
            return [tuple(vocabulary[place] for place in sorted(places))] if places else []
        absent = [p for p in range(len(vocabulary)) if p not in {a.label for a in record.annotations}]
        absent = absent if record.exhaustive else [*record.absent]
        waiting = [vocabulary[place] for place in places]
        rng.shuffle(waiting)
        groups: list[tuple[str, ...]] = []
        while waiting and len(groups) < count:
            size = rng.randint(1, self.most_names)
            groups.append(tuple(waiting[:size]))
            del waiting[:size]
        if absent and (not groups or rng.random() < self.negatives):
            groups[-1:] = [(vocabulary[rng.choice(absent)],)]
        return groups

    def _answered(
        self, record: Record, question: str, *, names: Sequence[str], found: Sequence[Annotation], labels: Sequence[str]
    ) -> BoxQuestion:
        """Objects in the order of the answer; those of which nothing is seen are left out."""
        seen = [place for place, annotation in enumerate(found) if self._seen(record, annotation)]
        asked = [clean_label(name) for name in names]
        ranks = [asked.index(labels[place]) if labels[place] in asked else 0 for place in seen]
        boxes = _boxes([found[place] for place in seen])
        order = [seen[place] for place in answer_order(boxes, ranks)][: self.most_objects]
        chosen = tuple(found[place] for place in order)
        return BoxQuestion(question, tuple(names), chosen, tuple(labels[place] for place in order))

    def _seen(self, record: Record, annotation: Annotation) -> bool:
        x1, y1, x2, y2 = annotation.box
        if not self.masked:
            return x2 > x1 and y2 > y1
        if annotation.segmentation is None:
            raise ValueError(f"image {record.image_id}: {self.form} needs the masks of all objects")
        return x2 > x1 and y2 > y1 and mask_area(annotation.segmentation, record.size) > 0


def listed_names(record: Record, expression: Expression) -> tuple[str, ...]:
    """The names that an expression of :func:`named_objects` stands for, in the order of the vocabulary."""
    assert record.vocabulary is not None
    labels = {record.annotations[place].label for place in expression.targets}
    return tuple(record.vocabulary.names[label] for label in sorted(label for label in labels if label is not None))


def named_objects(record: Record) -> Record:
    """The record with one expression, that of all its objects that have a name; crowds are none.

    So questions about categories are measured as those about expressions are.

    Raises:
        ValueError: the record has no list of names.
    """
    if record.vocabulary is None:
        raise ValueError(f"image {record.image_id}: questions about categories need a list of names")
    places = tuple(
        place
        for place, annotation in enumerate(record.annotations)
        if annotation.label is not None and not annotation.iscrowd
    )
    expression = Expression("", places, kind="category")
    if not places:
        return replace(record, expressions=())
    text = CLASS_SEPARATOR.join(map(clean_label, listed_names(record, expression)))
    return replace(record, expressions=(replace(expression, text=text),))


def _name(record: Record, annotation: Annotation) -> str | None:
    """The name of an object as answers say it; None where it has none."""
    if record.vocabulary is None or annotation.label is None:
        return None
    return clean_label(record.vocabulary.names[annotation.label])


def _boxes(annotations: Sequence[Annotation]) -> Tensor:
    return torch.tensor([annotation.box for annotation in annotations], dtype=torch.float64).reshape(-1, 4)
