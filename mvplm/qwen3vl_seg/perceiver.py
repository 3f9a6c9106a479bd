"""Asking a Qwen3-VL that writes boxes and decodes their masks: the same questions and answers as ``Perceiver``."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.config import Config
from mvplm.config.base import near
from mvplm.data.images import load_image
from mvplm.data.open_boxes import OpenBoxMapper
from mvplm.models.qwen3vl_seg.reading import ReadBoxes, answer_text, decode_answers, perceive_boxes, read_ids
from mvplm.models.qwen3vl_seg.writing import Prefix, Writing, WrittenBoxes, read_prefix, write_after, write_boxes
from mvplm.models.text_mask.reading import Asked
from mvplm.prompts.box_masks import BOX_MASK_FORMS, FORM_OF_TASK, MASK_TOKENS
from mvplm.questions import WORD_TASKS, Question, Request, check_batch_size
from mvplm.qwen3vl_seg.build import BoxMaskSystem
from mvplm.structures import Perception, Vocabulary
from mvplm.structures.written import WrittenAnswer, WrittenBatch, WrittenSample
from mvplm.textmask.processor import ConstrainedLogits, constrain_boxes
from mvplm.writing_perceiver import WritingPerceiver, record_of

TEXT_TASKS = ("referring", *(form for form in BOX_MASK_FORMS if form != "category"))
"""Tasks of ``predict(text=...)``."""


@dataclass(frozen=True)
class LookedBoxes:
    """A batch, what the model wrote about it and how it was read, and the seconds that took."""

    batch: WrittenBatch
    read: list[ReadBoxes]
    seconds: float


@dataclass(frozen=True)
class SeenPicture:
    """A picture that was read once, for any number of questions."""

    array: np.ndarray
    prefix: Prefix


class BoxPerceiver(WritingPerceiver):
    """A Qwen3-VL with its mask decoder, processor and settings.

    Args:
        system: the model and what makes batches for it; the model is put into evaluation mode.
        config: what it was built from.
        vocabulary: names the model knows to be things or stuff; other names count as things.
        dtype: "fp32" or "bf16" (autocast).
    """

    def __init__(
        self, system: BoxMaskSystem, *, config: Config, vocabulary: Vocabulary | None = None, dtype: str = "fp32"
    ) -> None:
        super().__init__(system, config=config, vocabulary=vocabulary, dtype=dtype)
        self._constraints: dict[bool, ConstrainedLogits] = {}
        self._current: SeenPicture | None = None

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
            text: an expression, or several about the same image.
            boxes: (P, 4) XYXY pixels of the original image or ``BoxPrompts``, instead of boxes that the model writes;
                the answer has one instance per box, in the same order. ``classes`` (one name) or ``text`` say what is
                in boxes without names.
            task: for ``classes`` instance (default), panoptic, semantic, detection or grounding; for ``text``
                referring (default), or a kind of question: "description", "general", "reason", "rec" or "vqa".
            stuff: which of the classes are stuff. batch_size: questions per forward pass.

        Returns:
            A Perception for one image, a list for a list of images; with a list of expressions, a list per image.

        Raises:
            ValueError: nothing is asked or things that do not go together, a task that does not go with them, boxes
                that are no boxes of the image, a picture that cannot be read (the message names it).
        """
        if image is None and self._current is None:
            raise ValueError("give an image, or call set_image() first")
        if text is not None and boxes is None and task is not None and task not in TEXT_TASKS:
            raise ValueError(
                f"task {task!r} does not go with text={near(task, TEXT_TASKS)}; choose one of {', '.join(TEXT_TASKS)}"
            )
        request = Request(None if text is not None else task, classes, text=text, stuff=stuff, boxes=boxes)
        wanted = task or "referring" if text is not None and boxes is None else request.task or "instance"
        several = isinstance(image, (list, tuple))
        seen = self._current if image is None else None
        given = [seen.array] if seen is not None else list(image) if several else [image]
        pictures = [load_image(picture) for picture in given]
        questions = request.questions(len(pictures), several=several, known_stuff=self.known_stuff())
        rows = [(pictures[place], question) for place, asked in enumerate(questions) for question in asked]
        size = check_batch_size(batch_size, self.config.infer.batch_size)
        found: list[Perception] = []
        for start in range(0, len(rows), size):
            chunk = rows[start : start + size]
            answered = self._ask(chunk, task=wanted, seen=seen)
            for (array, _), perception in zip(chunk, answered, strict=True):
                perception._image = array
            found += answered
        answers = [[found.pop(0) for _ in asked] for asked in questions]
        return request.shape(answers, several=several)

    def _ask(
        self, rows: Sequence[tuple[np.ndarray, Question]], *, task: str, seen: SeenPicture | None
    ) -> list[Perception]:
        """One batch of questions about pictures, or about the picture that was read."""
        if rows[0][1].boxes is not None:
            from mvplm.qwen3vl_seg.given_boxes import perceive_given

            return perceive_given(self, rows, seen=seen)
        mapper = self.mapper(task)
        samples = [mapper(record_of(array, question)) for array, question in rows]
        looked = self.look(self.collate(samples)) if seen is None else self._look_again(samples, seen)
        return self.answer(looked, task=task, isthing=[question.isthing for _, question in rows])

    def set_image(self, image: Any) -> "BoxPerceiver":
        """Read a picture once; later calls of :meth:`predict` without an image ask about it.

        Raises:
            ValueError: the model reads the question before the picture.
        """
        if self.config.box_mask.prompt_order != "image_first":
            raise ValueError("set_image() needs box_mask.prompt_order 'image_first': this model reads questions first")
        array = load_image(image)
        sample = self.mapper("referring")(record_of(array, Question(expression="it")))
        batch = self.collate([sample]).to(self.device)
        length = batch.inputs["input_ids"].shape[1] - len(self.tail(sample))
        with self.autocast():
            prefix = read_prefix(self.model.base, batch.inputs, length=length, mask_id=self.system.mask_id)
        self._current = SeenPicture(array, prefix)
        return self

    def mapper(self, task: str, mode: str | None = None, *, sentences: str | None = None) -> OpenBoxMapper:
        """The mapper from records to samples with open answers.

        Args:
            task: a public task, or a kind of question. mode: not used; there is one way to answer.
            sentences: res, gres or rec, where prompts differ between them.
        """
        form = task if task in BOX_MASK_FORMS else FORM_OF_TASK[sentences or task]
        return OpenBoxMapper(form, task=sentences or ("gres" if task in TEXT_TASKS else task))

    def collate(self, samples: Sequence[WrittenSample]) -> WrittenBatch:
        """A batch of samples."""
        return self._collate(samples)

    def look(self, batch: WrittenBatch) -> LookedBoxes:
        """What the model writes about a batch, in one pass, with the masks of all boxes.

        Raises:
            ValueError: questions with masks, with boxes alone and about anything in one batch.
        """
        started = time.perf_counter()
        with self.autocast():
            answers = write_boxes(self.model.base, batch.to(self.device).inputs, writing=self.writing(batch.samples))
            read = self.read(answers, batch.samples)
        return LookedBoxes(batch, read, time.perf_counter() - started)

    def _look_again(self, samples: Sequence[WrittenSample], seen: SeenPicture) -> LookedBoxes:
        """Questions about a picture that was read, one after the other."""
        started = time.perf_counter()
        with self.autocast():
            writing = self.writing(samples)
            answers = [
                write_after(self.model.base, seen.prefix, ids=self.tail(sample), writing=writing) for sample in samples
            ]
            read = self.read(answers, samples)
        return LookedBoxes(WrittenBatch({}, list(samples), None, 0), read, time.perf_counter() - started)

    def writing(self, samples: Sequence[WrittenSample]) -> Writing:
        """How answers to some samples are written."""
        settings, system = self.config.box_mask, self.system
        kinds = {"masks" if s.form not in ("rec", "vqa") else s.form for s in samples}
        if len(kinds) > 1:
            raise ValueError(f"questions of one batch must have answers of one kind, got {', '.join(sorted(kinds))}")
        constraint = None
        if settings.constrained and kinds != {"vqa"}:
            masks = kinds == {"masks"}
            if masks not in self._constraints:
                self._constraints[masks] = constrain_boxes(
                    system.tokenizer.tokenizer,
                    mask_tokens=MASK_TOKENS if masks else (),
                    most=settings.max_instances,
                    label_tokens=settings.label_tokens,
                    ends=system.ends,
                    max_new_tokens=settings.max_new_tokens,
                )
            constraint = self._constraints[masks]
        pad = system.tokenizer.pad_id
        return Writing(system.mask_id, system.ends, pad, settings.max_new_tokens, constraint=constraint)

    def read(self, answers: Sequence[WrittenBoxes], samples: Sequence[WrittenSample]) -> list[ReadBoxes]:
        """What answers to some samples say, with their masks."""
        sizes = [(int(sample.image.shape[1]), int(sample.image.shape[2])) for sample in samples]
        tokenizer, mask_id = self.system.tokenizer, self.system.mask_id
        parsed = [
            read_ids(answer.written.ids, size, tokenizer=tokenizer, mask_id=mask_id)
            for answer, size in zip(answers, sizes, strict=True)
        ]
        texts = [answer_text(answer.written.ids, tokenizer, mask_id=mask_id) for answer in answers]
        return decode_answers(self.model.mask_decoder, answers, parsed=parsed, sizes=sizes, texts=texts)

    def answer(
        self, looked: LookedBoxes, *, task: str, isthing: Sequence[Sequence[bool]] | None = None
    ) -> list[Perception]:
        """What was written, read for a task, per row; ``isthing``: flags of the names of every row."""
        started = time.perf_counter()
        found = []
        for row, (sample, read) in enumerate(zip(looked.batch.samples, looked.read, strict=True)):
            names = sample.turns[-1].names
            flags = tuple(isthing[row]) if isthing is not None else self.flags(names)
            if sample.form == "vqa":
                told = WrittenAnswer(read.text, "ok", {}, read.tokens, read.finished)
                found.append(Perception(read.size, task, list(names), caption=read.text, written=told))
                continue
            asked = Asked(
                "referring" if task in BOX_MASK_FORMS else task,
                read.size,
                names,
                isthing=flags,
                listed=task in WORD_TASKS,
                box_only=sample.form == "rec",
            )
            found.append(perceive_boxes(read, asked, threshold=self.config.box_mask.mask_threshold))
        self.finish(found, looked=looked.seconds, read=time.perf_counter() - started)
        return found

    def save(self, directory: str | Path) -> Path:
        """Write a directory for :func:`mvplm.load`: configuration, processor, decoder, weights or adapters."""
        from mvplm.qwen3vl_seg.files import save_box_perceiver

        return save_box_perceiver(self, directory)

    def tail(self, sample: WrittenSample) -> list[int]:
        """Ids of a question and what follows it."""
        return [*self.system.tokenizer.encode(sample.turns[0].question), *self.system.frame.after]
