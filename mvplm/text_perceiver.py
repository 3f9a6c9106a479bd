"""Asking a language model that writes masks as text: the same questions and the same answers as ``Perceiver``."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mvplm.build_text_mask import TextMaskSystem, build_mask_mapper
from mvplm.config import Config
from mvplm.config.base import near
from mvplm.data.images import load_image
from mvplm.data.mask_mapper import MaskTextMapper
from mvplm.models.text_mask.reading import Asked, perceive_answer
from mvplm.models.text_mask.writing import Written
from mvplm.prompts.mask_tasks import BOX_FORMS, FORM_OF_TASK, FORMS
from mvplm.questions import WORD_TASKS, Question, Request
from mvplm.structures import Expression, Perception, Record, Vocabulary
from mvplm.structures.written import WrittenBatch, WrittenSample

TEXT_TASKS = ("referring", *(form for form in FORMS if not form.startswith("semantic.")))
"""Tasks of ``predict(text=...)``."""


@dataclass(frozen=True)
class LookedWritten:
    """A batch, what the model wrote about it, and the seconds that took."""

    batch: WrittenBatch
    written: list[Written]
    seconds: float


class TextPerceiver:
    """A language model that writes masks, with its processor and settings.

    Args:
        system: the model and what makes batches for it; the model is put into evaluation mode.
        config: what it was built from.
        vocabulary: names the model knows to be things or stuff; other names count as things.
        dtype: "fp32" or "bf16" (autocast).
    """

    def __init__(
        self, system: TextMaskSystem, *, config: Config, vocabulary: Vocabulary | None = None, dtype: str = "fp32"
    ) -> None:
        self.system = system
        self.model = system.model.eval()
        self.config = config
        self.vocabulary = vocabulary
        self.dtype = dtype
        self.settings: Any = None
        self._collate = system.collate(config)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def predict(
        self,
        image: Any,
        *,
        classes: Sequence[str] | Sequence[Sequence[str]] | None = None,
        text: str | Sequence[str] | None = None,
        task: str | None = None,
        stuff: Iterable[str] | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Ask about one image or a list of them; see :meth:`mvplm.Perceiver.predict`.

        Args:
            image: one picture or a list.
            classes: names to look for; one list for all images, or a list per image.
            text: an expression, or several about the same image.
            task: for ``classes`` instance (default), panoptic, semantic, detection or grounding; for ``text``
                referring (default), or a kind of question such as "ground", "reason.multi" or "vqa".
            stuff: which of the classes are stuff. batch_size: questions per forward pass.

        Returns:
            A Perception for one image, a list for a list of images; with a list of expressions, a list per image.

        Raises:
            ValueError: both or neither of ``classes`` and ``text``, nothing in them, a task that does not go with them,
                a picture that cannot be read (the message names it).
        """
        if text is not None and task is not None and task not in TEXT_TASKS:
            raise ValueError(
                f"task {task!r} does not go with text={near(task, TEXT_TASKS)}; choose one of {', '.join(TEXT_TASKS)}"
            )
        request = Request(None if text is not None else task, classes, text=text, stuff=stuff, boxes=None)
        wanted = request.task if text is None else task or "referring"
        several = isinstance(image, (list, tuple))
        pictures = [load_image(picture) for picture in (image if several else [image])]
        known = () if self.vocabulary is None else stuff_names(self.vocabulary)
        questions = request.questions(len(pictures), several=several, known_stuff=known)
        rows = [(place, question) for place, asked in enumerate(questions) for question in asked]
        size = self.config.infer.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size must be at least 1, got {size}")
        answers: list[list[Perception]] = [[] for _ in pictures]
        mapper = self.mapper(wanted or "instance")
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            samples = [mapper(record_of(pictures[i], question)) for i, question in chunk]
            looked = self.look(self.collate(samples))
            flags = [question.isthing for _, question in chunk]
            found = self.answer(looked, task=wanted or "instance", isthing=flags)
            for (place, _), perception in zip(chunk, found, strict=True):
                perception._image = pictures[place]
                answers[place].append(perception)
        shaped: list[Any] = answers if text is not None and not isinstance(text, str) else [a[0] for a in answers]
        return shaped if several else shaped[0]

    def mapper(self, task: str, mode: str | None = None, *, sentences: str | None = None) -> MaskTextMapper:
        """The mapper from records to samples with open answers.

        Args:
            task: a public task, or a kind of question. mode: not used; there is one way to answer.
            sentences: res, gres or rec, where prompts differ between them.
        """
        form = task if task in FORMS else FORM_OF_TASK[sentences or task]
        kind = sentences or ("gres" if task in TEXT_TASKS else task)
        return build_mask_mapper(self.config, self.system, task=kind, form=form, training=False)

    def collate(self, samples: Sequence[WrittenSample]) -> WrittenBatch:
        """A batch of samples."""
        return self._collate(samples)

    def look(self, batch: WrittenBatch, *, processors: Sequence[Any] = ()) -> LookedWritten:
        """What the model writes about a batch; ``processors`` are logits processors that restrict it."""
        started = time.perf_counter()
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16"):
            written = self.model.write(
                batch.to(self.device),
                max_new_tokens=self.config.text_mask.max_new_tokens,
                processors=processors,
            )
        return LookedWritten(batch, written, time.perf_counter() - started)

    def answer(
        self, looked: LookedWritten, *, task: str, isthing: Sequence[Sequence[bool]] | None = None
    ) -> list[Perception]:
        """What was written, read for a task, per row; ``isthing``: flags of the names of every row."""
        started = time.perf_counter()
        found = []
        for row, sample in enumerate(looked.batch.samples):
            names = sample.turns[-1].names
            flags = tuple(isthing[row]) if isthing is not None else self._flags(names)
            asked = Asked(
                "referring" if task in FORMS else task,
                looked.batch.original_sizes[row],
                names,
                isthing=flags,
                listed=task in WORD_TASKS,
                box_only=sample.form in BOX_FORMS,
            )
            found.append(perceive_answer(self.model, looked.written[row], asked=asked))
        seconds = time.perf_counter() - started
        for perception in found:
            perception.display_score = self.config.post.display_score
            perception.timings = {"model": looked.seconds / len(found), "postprocess": seconds / len(found)}
            if task == "vqa" and perception.written is not None:
                perception.caption = perception.written.text
        return found

    def save(self, directory: str | Path) -> Path:
        """Write a directory for :func:`mvplm.load`: configuration, processor, weights or adapters, map of tokens."""
        from mvplm.text_mask_files import save_text_perceiver

        return save_text_perceiver(self, directory)

    def _flags(self, names: Sequence[str]) -> tuple[bool, ...]:
        known = set() if self.vocabulary is None else stuff_names(self.vocabulary)
        return tuple(name.lower() not in known for name in names)


def stuff_names(vocabulary: Vocabulary) -> set[str]:
    """Lower-case names that are stuff."""
    return {name.lower() for name, thing in zip(vocabulary.names, vocabulary.isthing, strict=True) if not thing}


def record_of(array: Any, question: Question) -> Record:
    """The record of a question about an RGB array (H, W, 3)."""
    size = (int(array.shape[0]), int(array.shape[1]))
    if question.expression is not None:
        return Record("picture", array, size, expressions=(Expression(question.expression, ()),))
    return Record("picture", array, size, vocabulary=Vocabulary(question.names, question.isthing))
