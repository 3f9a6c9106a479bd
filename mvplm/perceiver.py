"""The one class a user meets: load a model once, ask it about pictures."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mvplm.build import build_collate
from mvplm.config import Config
from mvplm.data.images import load_image
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.engine.step import to_float32
from mvplm.hub import HubMixin
from mvplm.models.mvplm import MVPLM
from mvplm.models.states import Perceived, VisualFeatures
from mvplm.postprocess import PostprocessSettings, postprocess
from mvplm.prompts import PromptTokenizer, clean_text
from mvplm.structures import Batch, Expression, Perception, Record, Sample, Vocabulary

WORD_TASKS = ("instance", "panoptic", "semantic", "detection", "grounding")
SENTENCE_TASKS = ("referring",)
THING_TASKS = ("instance", "detection")

Picture = Any
"""A path, a PIL image, a uint8 RGB array (H, W, 3), or a tensor (3, H, W) of uint8 or of floats in [0, 1]."""


def load(name: str | Path, *, device: str = "auto", dtype: str = "auto", local_files_only: bool = True) -> "Perceiver":
    """Load a model by the name of shipped weights, a directory written by :meth:`Perceiver.save`, or a Hub id.

    Args:
        name: what to load.
        device: "auto" takes a GPU when there is one.
        dtype: "auto", "fp32" or "bf16" (autocast; coordinates and scores stay fp32).
        local_files_only: never use the network; pass False to allow a download from the Hub.

    Raises:
        ValueError: nothing of that name; the message lists what is shipped.
    """
    from mvplm.pretrained import load_perceiver

    return load_perceiver(name, device=device, dtype=dtype, local_files_only=local_files_only)


@dataclass(frozen=True)
class Question:
    """What is asked of one image: a list of names, or one expression."""

    names: tuple[str, ...] = ()
    isthing: tuple[bool, ...] = ()
    expression: str | None = None


@dataclass
class EncodedImages:
    """Images that went through the vision encoder once, for any number of questions."""

    arrays: list[np.ndarray]
    features: VisualFeatures


@dataclass
class Looked:
    """One forward pass: the batch, what the network said, the captions it wrote (None without), and its seconds."""

    batch: Batch
    perceived: Perceived
    captions: list[str | None]
    seconds: float


class Perceiver(HubMixin):
    """A model with its tokenizer and settings.

    Args:
        model: the network, on its device.
        tokenizer: its tokenizer.
        config: what it was built from.
        vocabulary: names the model knows to be things or stuff; other names count as things.
        dtype: "fp32" or "bf16".
        provenance: where the weights come from, if that is known; saved with them.
    """

    def __init__(
        self,
        model: MVPLM,
        tokenizer: PromptTokenizer,
        *,
        config: Config,
        settings: PostprocessSettings,
        vocabulary: Vocabulary | None = None,
        dtype: str = "fp32",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.config = config
        self.settings = settings
        self.vocabulary = vocabulary
        self.dtype = dtype
        self.provenance = provenance
        self._current: EncodedImages | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def predict(
        self,
        image: Picture | Sequence[Picture] | None = None,
        *,
        classes: Sequence[str] | Sequence[Sequence[str]] | None = None,
        text: str | Sequence[str] | None = None,
        task: str | None = None,
        stuff: Iterable[str] | None = None,
        batch_size: int | None = None,
        mode: str | None = None,
        settings: PostprocessSettings | None = None,
    ) -> Any:
        """Ask about one image or a list of them.

        Args:
            image: one picture or a list; None asks about the picture of :meth:`set_image`.
            classes: names to look for; one list for all images, or a list per image. Instance and detection look for
                things only: names of stuff find nothing there.
            text: an expression, or several about the same image (which is encoded once).
            task: for ``classes`` instance (default), panoptic, semantic, detection or grounding; for ``text``
                referring (default). Grounding takes every name for a phrase about a thing.
            stuff: which of the classes are stuff (sky, grass); by default those the model's vocabulary says.
            batch_size: images per forward pass.
            mode: "caption" lets the model describe the picture first, "skip" does not.
            settings: thresholds of the post-processing.

        Returns:
            A Perception for one image, a list for a list of images; with a list of expressions, a list per image.

        Raises:
            ValueError: both or neither of ``classes`` and ``text``, nothing in them, a task that does not go with them,
                a picture that cannot be read (the message names it).
        """
        task = _checked_task(task, classes=classes, text=text)
        several = isinstance(image, (list, tuple))
        if image is None and self._current is None:
            raise ValueError("give an image, or call set_image() first")
        pictures: list[Picture] = [None] if image is None else list(image) if several else [image]
        questions = self._questions(len(pictures), several, task=task, classes=classes, text=text, stuff=stuff)
        size = self.config.infer.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ValueError(f"batch_size must be at least 1, got {size}")
        answers: list[list[Perception]] = []
        for start in range(0, len(pictures), size):
            chunk = pictures[start : start + size]
            encoded = self._current if image is None else self.encode(chunk)
            assert encoded is not None
            answers += self.ask(
                encoded, questions[start : start + size], task=task, batch_size=size, mode=mode, settings=settings
            )
        shaped: list[Any] = answers if text is not None and not isinstance(text, str) else [a[0] for a in answers]
        return shaped if several else shaped[0]

    def set_image(self, image: Picture) -> "Perceiver":
        """Encode a picture once; later calls of :meth:`predict` without an image ask about it."""
        self._current = self.encode([image])
        return self

    def encode(self, images: Sequence[Picture]) -> EncodedImages:
        """Run the vision side on some pictures."""
        arrays = [load_image(image) for image in images]
        mapper, probe = self.mapper("referring"), Question(expression="it")
        samples = [_sample(mapper, array, question=probe, index=i) for i, array in enumerate(arrays)]
        batch = self._collate(samples)
        with torch.inference_mode(), self._autocast():
            features = self.model.encode(batch.images, batch.valid_sizes)
        return EncodedImages(arrays, features)

    def ask(
        self,
        encoded: EncodedImages,
        questions: Sequence[Sequence[Question]],
        *,
        task: str,
        batch_size: int,
        mode: str | None = None,
        settings: PostprocessSettings | None = None,
    ) -> list[list[Perception]]:
        """Answer several questions per encoded image; the answers keep that shape."""
        rows = [(i, question) for i, asked in enumerate(questions) for question in asked]
        answers: list[list[Perception]] = [[] for _ in questions]
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            # Without a record there are no phrases to collect: the names themselves are listed, as for detection.
            mapper = self.mapper("detection" if task == "grounding" else task, mode)
            samples = [_sample(mapper, encoded.arrays[i], question=question, index=i) for i, question in chunk]
            features = encoded.features.select([i for i, _ in chunk])
            looked = self.look(self._collate(samples), features=features, mode=mode)
            found = self.answer(looked, task=task, settings=settings)
            for (i, question), perception in zip(chunk, found, strict=True):
                perception._image = encoded.arrays[i]
                answers[i].append(_with_every_name(perception, question))
        return answers

    def look(self, batch: Batch, *, features: VisualFeatures | None = None, mode: str | None = None) -> "Looked":
        """One forward pass over a collated batch; what it saw can be read for several tasks.

        Args:
            batch: with prompts made for ``mode`` (see :meth:`mapper`).
            features: of the images, row by row, when they are encoded already.
            mode: "caption" or "skip"; the configuration's when None.
        """
        started = time.perf_counter()
        with torch.inference_mode(), self._autocast():
            batch = batch.to(self.device)
            perceived = self.model.perceive(
                batch,
                mode=mode or self.config.infer_mode,
                visual=features,
                max_new_tokens=self.config.infer.max_new_tokens,
            )
        captions: list[str | None] = [None] * len(batch)
        if perceived.caption_ids is not None:
            captions = [_caption(self.tokenizer.decode(ids)) for ids in perceived.caption_ids]
        return Looked(batch, perceived, captions, time.perf_counter() - started)

    def answer(self, looked: "Looked", *, task: str, settings: PostprocessSettings | None = None) -> list[Perception]:
        """What a forward pass says about one task, per row."""
        started = time.perf_counter()
        with torch.inference_mode():
            output = to_float32(looked.perceived.output)
            found = postprocess(output, looked.batch, task=task, settings=settings or self.settings)
        seconds = time.perf_counter() - started
        for row, perception in enumerate(found):
            perception.caption = looked.captions[row]
            perception.forced_summary = bool(looked.perceived.forced[row])
            perception.display_score = self.config.post.display_score
            perception.timings = {"model": looked.seconds / len(found), "postprocess": seconds / len(found)}
        return found

    def mapper(self, task: str, mode: str | None = None) -> SampleMapper:
        """The mapper from records to samples of a public task, without targets and without drawing anything."""
        skip = (mode or self.config.infer_mode) == "skip"
        return SampleMapper(
            self.tokenizer,
            image_size=self.config.image.size,
            num_image_tokens=self.config.num_image_tokens,
            task="gres" if task == "referring" else task,
            training=False,
            settings=UnifySettings(open_prompt=not skip, dedupe=self.config.prompt.dedupe),
            max_length=self.config.prompt.max_length,
            keep_target=False,
        )

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """A batch of samples in this model's frame and normalisation."""
        return build_collate(self.config, self.tokenizer)(samples)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        return self.collate(samples).to(self.device)

    def _questions(
        self,
        count: int,
        several: bool,
        *,
        task: str,
        classes: Sequence[str] | Sequence[Sequence[str]] | None,
        text: str | Sequence[str] | None,
        stuff: Iterable[str] | None,
    ) -> list[list[Question]]:
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            return [[Question(expression=expression) for expression in texts]] * count
        assert classes is not None
        nested = bool(classes) and not isinstance(classes[0], str)
        if nested and (not several or len(classes) != count):
            raise ValueError(f"a list of class lists needs one per image: got {len(classes)} for {count} image(s)")
        lists = [_cleaned(entry) for entry in classes] if nested else [_cleaned(classes)] * count
        known = self._stuff_names() if stuff is None else {name.lower() for name in _cleaned(stuff, "stuff")}
        questions = []
        for names in lists:
            isthing = tuple(task == "grounding" or name.lower() not in known for name in names)
            if task in THING_TASKS and not any(isthing):
                raise ValueError(f"task {task!r} looks for things, but all classes are stuff: {', '.join(names)}")
            questions.append([Question(names, isthing)])
        return questions

    def _stuff_names(self) -> set[str]:
        if self.vocabulary is None:
            return set()
        pairs = zip(self.vocabulary.names, self.vocabulary.isthing, strict=True)
        return {name.lower() for name, isthing in pairs if not isthing}

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16")


def _checked_task(task: str | None, *, classes: Any, text: Any) -> str:
    if (classes is None) == (text is None):
        raise ValueError("give either classes=[...] or text='...', not both and not neither")
    if isinstance(classes, str):
        raise ValueError(f"classes must be a list of names, got the string {classes!r}")
    if classes is not None and not len(classes):
        raise ValueError("classes is empty: give at least one name")
    if text is not None and not len(text):
        raise ValueError("text is empty: say what to look for")
    choices = WORD_TASKS if text is None else SENTENCE_TASKS
    if task is not None and task not in choices:
        asked = "classes" if text is None else "text"
        raise ValueError(f"task {task!r} does not go with {asked}=; choose one of {', '.join(choices)}")
    return task or choices[0]


def _cleaned(names: Any, what: str = "classes") -> tuple[str, ...]:
    """Names with their whitespace collapsed. Raises ValueError for a bare string, an empty list or an empty name."""
    if isinstance(names, str):
        raise ValueError(f"{what} must be a list of names, got the string {names!r}")
    cleaned = tuple(clean_text(name) for name in names)
    if what == "classes" and not cleaned:
        raise ValueError("classes is empty: give at least one name")
    return cleaned


def _with_every_name(perception: Perception, question: Question) -> Perception:
    """The answer with the names that were asked; a prompt about things leaves those of stuff out."""
    if question.expression is not None or len(perception.query) == len(question.names):
        return perception
    instances = perception.instances
    assert instances is not None
    places = torch.tensor([place for place, isthing in enumerate(question.isthing) if isthing])
    moved = replace(instances, class_index=places[instances.class_index])
    return replace(perception, query=list(question.names), instances=moved)


def _sample(mapper: SampleMapper, array: np.ndarray, *, question: Question, index: int) -> Sample:
    size = (int(array.shape[0]), int(array.shape[1]))
    if question.expression is not None:
        record = Record(index, array, size, expressions=(Expression(question.expression, ()),))
        return mapper(record, expression=0)
    return mapper(Record(index, array, size, vocabulary=Vocabulary(question.names, question.isthing)))


def _caption(text: str) -> str | None:
    """The description a response opens with, without the announcement of the result."""
    from mvplm.prompts.templates import RESULT_TEXT

    text = text.split(RESULT_TEXT.strip())[0].strip()
    return text or None
