"""Asking a language model that writes masks as text: the same questions and the same answers as ``Perceiver``."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvplm.config import Config
from mvplm.config.base import near
from mvplm.data.images import load_image
from mvplm.data.mask_mapper import MaskTextMapper
from mvplm.models.text_mask import ReadPictures, Written
from mvplm.models.text_mask.reading import Asked, perceive_answer
from mvplm.models.text_mask.refine import MaskRefiner, refine_perception
from mvplm.prompts.mask_tasks import BOX_FORMS, FORM_OF_TASK, FORMS, NAME_FORMS
from mvplm.questions import WORD_TASKS, Question, Request, check_batch_size
from mvplm.structures import Perception, Vocabulary
from mvplm.structures.written import AskedBatch, WrittenSample
from mvplm.text4seg.build import TextMaskSystem, build_mask_mapper
from mvplm.writing_perceiver import WritingPerceiver, record_of

TEXT_TASKS = ("referring", *(form for form in FORMS if form not in NAME_FORMS))
"""Tasks of ``predict(text=...)``."""


@dataclass(frozen=True)
class ReadImages:
    """Images as RGB arrays (H, W, 3), and what the model keeps of them; None: it reads them again with a question."""

    arrays: list[np.ndarray]
    pictures: ReadPictures | None


@dataclass(frozen=True)
class LookedWritten:
    """A batch, what the model wrote about it, and the seconds that took."""

    batch: AskedBatch
    written: list[Written]
    seconds: float


class TextPerceiver(WritingPerceiver):
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
        super().__init__(system, config=config, vocabulary=vocabulary, dtype=dtype)
        self._current: ReadImages | None = None

    @cached_property
    def refiner(self) -> MaskRefiner | None:
        """What refines written masks, when ``text_mask.refiner`` names one."""
        folder = self.config.text_mask.refiner
        return None if folder is None else MaskRefiner.from_pretrained(folder, device=self.device)

    def predict(
        self,
        image: Any = None,
        *,
        classes: Sequence[str] | Sequence[Sequence[str]] | None = None,
        text: str | Sequence[str] | None = None,
        boxes: Any = None,
        task: str | None = None,
        stuff: Iterable[str] | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Ask about one image or a list of them; see :meth:`mvplm.Perceiver.predict`.

        Args:
            image: one picture or a list; None asks about the picture of :meth:`set_image`.
            classes: names to look for; one list for all images, or a list per image.
            text: an expression, or several about the same image, which is read once.
            boxes: not understood by models that write.
            task: for ``classes`` instance (default), panoptic, semantic, detection or grounding; for ``text``
                referring (default), or a kind of question such as "ground", "reason.multi" or "vqa".
            stuff: which of the classes are stuff. batch_size: images, and questions, per forward pass.

        Returns:
            A Perception for one image, a list for a list of images; with a list of expressions, a list per image.

        Raises:
            ValueError: boxes; both or neither of ``classes`` and ``text``, nothing in them, a task that does not go
                with them, a picture that cannot be read (the message names it).
        """
        if boxes is not None:
            raise ValueError(
                "a model that writes masks as text cannot be asked about boxes; ask with text= or classes=, or take a "
                "model of system 'mvplm' for boxes="
            )
        if text is not None and task is not None and task not in TEXT_TASKS:
            raise ValueError(
                f"task {task!r} does not go with text={near(task, TEXT_TASKS)}; choose one of {', '.join(TEXT_TASKS)}"
            )
        request = Request(None if text is not None else task, classes, text=text, stuff=stuff, boxes=None)
        several = isinstance(image, (list, tuple))
        if image is None and self._current is None:
            raise ValueError("give an image, or call set_image() first")
        pictures = list(image) if several else [image]
        questions = request.questions(len(pictures), several=several, known_stuff=self.known_stuff())
        size = check_batch_size(batch_size, self.config.infer.batch_size)
        wanted = (request.task if text is None else task) or TEXT_TASKS[0]
        answers: list[list[Perception]] = []
        for start in range(0, len(pictures), size):
            read = self._current if image is None else self.read(pictures[start : start + size])
            assert read is not None
            answers += self.ask(read, questions[start : start + size], task=wanted, batch_size=size)
        return request.shape(answers, several=several)

    def set_image(self, image: Any) -> "TextPerceiver":
        """Read a picture once; later calls of :meth:`predict` without an image ask about it."""
        self._current = self.read([image])
        return self

    def read(self, images: Sequence[Any]) -> ReadImages:
        """Run the model over some pictures; any number of questions can follow.

        With ``text_mask.prompt_order`` "text_first" they are only loaded: every question reads them again.
        """
        arrays = [load_image(image) for image in images]
        if self._collate.opening is not None:
            return ReadImages(arrays, None)
        tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
        with self.autocast():
            batch = AskedBatch(self._collate.pictures(tensors), [], [], []).to(self.device)
            return ReadImages(arrays, self.model.look(batch))

    def ask(
        self, read: ReadImages, questions: Sequence[Sequence[Question]], *, task: str, batch_size: int
    ) -> list[list[Perception]]:
        """Answer several questions per picture; the answers keep that shape."""
        rows = [(place, question) for place, asked in enumerate(questions) for question in asked]
        answers: list[list[Perception]] = [[] for _ in questions]
        mapper = self.mapper(task)
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            samples = [
                mapper(record_of(read.arrays[place], question, task=task), expression=None if question.names else 0)
                for place, question in chunk
            ]
            rows_read = [place for place, _ in chunk]
            shared = read.pictures is not None
            batch = self._collate.ask(samples, rows=rows_read) if shared else self._collate(samples)
            looked = self.look(batch, pictures=read.pictures)
            found = self.answer(looked, task=task, isthing=[question.isthing for _, question in chunk])
            for (place, _), perception in zip(chunk, found, strict=True):
                perception._image = read.arrays[place]
                answers[place].append(perception)
        return answers

    def mapper(self, task: str, mode: str | None = None, *, sentences: str | None = None) -> MaskTextMapper:
        """The mapper from records to samples with open answers.

        Args:
            task: a public task, or a kind of question. mode: not used; there is one way to answer.
            sentences: res, gres or rec, where prompts differ between them.
        """
        form = task if task in FORMS else FORM_OF_TASK[sentences or task]
        kind = sentences or ("gres" if task in TEXT_TASKS else task)
        return build_mask_mapper(self.config, self.system, task=kind, form=form, training=False)

    def collate(self, samples: Sequence[WrittenSample]) -> AskedBatch:
        """A batch of samples with open answers; those about one picture share it when they hold the same tensor."""
        return self._collate(samples)

    def look(self, batch: AskedBatch, *, pictures: ReadPictures | None = None, jump: bool = True) -> LookedWritten:
        """What the model writes about a batch.

        Args:
            batch: of questions. pictures: of the batch, when they are read already.
            jump: do not ask the model for tokens without a choice; the answers are the same.
        """
        started = time.perf_counter()
        with self.autocast():
            written = self.model.write(
                batch.to(self.device),
                max_new_tokens=self.config.text_mask.max_new_tokens,
                constrained=self.config.text_mask.constrained,
                jump=jump,
                pictures=pictures,
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
            flags = tuple(isthing[row]) if isthing is not None else self.flags(names)
            asked = Asked(
                "referring" if task in FORMS else task,
                looked.batch.original_sizes[row],
                names,
                isthing=flags,
                listed=task in WORD_TASKS,
                box_only=sample.form in BOX_FORMS,
            )
            answer = perceive_answer(self.model, looked.written[row], asked=asked)
            if self.refiner is not None:
                answer = refine_perception(self.refiner, answer, image=sample.image)
            found.append(answer)
        self.finish(found, looked=looked.seconds, read=time.perf_counter() - started)
        for perception in found:
            if task == "vqa" and perception.written is not None:
                perception.caption = perception.written.text
                # Words are the whole answer: there is no mask to be read in them.
                perception.written = replace(perception.written, status="ok", repairs={})
        return found

    def save(self, directory: str | Path) -> Path:
        """Write a directory for :func:`mvplm.load`: configuration, processor, weights or adapters, map of tokens."""
        from mvplm.text4seg.files import save_text_perceiver

        return save_text_perceiver(self, directory)
