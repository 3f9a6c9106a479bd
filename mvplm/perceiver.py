"""The one class a user meets: load a model once, ask it about pictures."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mvplm.build import build_collate, build_layout, build_style
from mvplm.config import Config
from mvplm.data.images import load_image
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.data.windows import Shown
from mvplm.engine.step import to_float32
from mvplm.hub import HubMixin
from mvplm.looked import EncodedImages, Looked, caption_of
from mvplm.models.mvplm import MVPLM
from mvplm.models.states import VisualFeatures
from mvplm.name_store import NameStore
from mvplm.postprocess import PostprocessSettings, postprocess
from mvplm.prompts import INSTRUCTION_FIRST, PromptTokenizer
from mvplm.questions import (
    BOX_TASK,
    Question,
    Request,
    check_batch_size,
    make_sample,
    with_boxes,
    with_every_name,
)
from mvplm.structures import Batch, Perception, Sample, Vocabulary
from mvplm.structures.choices import check_choice
from mvplm.vocabularies import VocabularyMixin

Picture = Any
"""A path, a PIL image, a uint8 RGB array (H, W, 3), or a tensor (3, H, W) of uint8 or of floats in [0, 1]."""


def load(
    name: str | Path,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = True,
) -> Any:
    """Load a model by the name of shipped weights, a directory written by :meth:`Perceiver.save`, or a Hub id.

    Args:
        name: what to load. With ``model`` a system: "text4seg", "text4seg++" or "qwen3vl-seg".
        model: a multimodal language model that writes masks or boxes: a directory that training saved, or a base model
            of transformers with its processor.
        device: "auto" takes a GPU when there is one.
        dtype: "auto", "fp32" or "bf16" (autocast; coordinates and scores stay fp32).
        local_files_only: never use the network; pass False to allow a download from the Hub.

    Returns:
        A :class:`Perceiver`, a :class:`mvplm.text4seg.perceiver.TextPerceiver` or a
        :class:`mvplm.qwen3vl_seg.perceiver.BoxPerceiver`, which answer the same questions.

    Raises:
        ValueError: nothing of that name; the message lists what is shipped.
    """
    from mvplm.pretrained import load_perceiver, shipped_folder
    from mvplm.qwen3vl_seg.files import SYSTEM, is_box_directory, load_box_perceiver, load_box_system
    from mvplm.text4seg.files import SYSTEMS, is_text_directory, load_system, load_text_perceiver

    if model is not None:
        check_choice("system", str(name), choices=(*SYSTEMS, SYSTEM))
        load_named = load_box_system if name == SYSTEM else load_system
        return load_named(str(name), model, device=device, dtype=dtype)
    folder = shipped_folder(name) or name
    if is_box_directory(folder):
        return load_box_perceiver(folder, device=device, dtype=dtype)
    if is_text_directory(folder):
        return load_text_perceiver(folder, device=device, dtype=dtype)
    return load_perceiver(name, device=device, dtype=dtype, local_files_only=local_files_only)


class Perceiver(VocabularyMixin, HubMixin):
    """A model with its tokenizer and settings.

    Args:
        model: the network, on its device.
        tokenizer: its tokenizer.
        config: what it was built from.
        vocabulary: names the model knows to be things or stuff; other names count as things.
        dtype: "fp32" or "bf16".
        provenance: where the weights come from, if that is known; saved with them.

    Attributes:
        asked: names of :meth:`set_vocabulary`, asked for where none are given. names: embeddings that are kept.
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
        self.asked: Vocabulary | None = None
        self.names = NameStore(self.model, tokenizer, config=config, autocast=self._autocast, dtype=dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def compile(self, **options: Any) -> "Perceiver":
        """Let ``torch.compile`` work on the encoder, pixel decoder and decoder from the next question on.

        Every new size of pictures or batches is compiled once: minutes on CPU, where a C++ compiler is needed.

        Args:
            options: of ``torch.compile``: ``backend``, ``mode``, ``dynamic`` ...
        """
        for part in (self.model.encoder, self.model.pixel_decoder, self.model.decoder):
            part.compile(**options)
        return self

    def predict(
        self,
        image: Picture | Sequence[Picture] | None = None,
        *,
        classes: Sequence[str] | Sequence[Sequence[str]] | None = None,
        text: str | Sequence[str] | None = None,
        boxes: Any = None,
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
                things only: names of stuff find nothing there. A list may be of any length. Left out, the names of
                :meth:`set_vocabulary` are asked for.
            text: an expression, or several about the same image (which is encoded once).
            boxes: (P, 4) XYXY pixels of the original image, or ``BoxPrompts`` with a name for each box; a list of those
                for a list of images. The answer has one instance per box, in the same order. Boxes without a name get
                the best of ``classes``; ``text`` says how well each box fits.
            task: for ``classes`` instance (default), panoptic, semantic, detection or grounding; for ``text``
                referring (default); for ``boxes`` boxes. Grounding takes every name for a phrase about a thing.
            stuff: which of the classes are stuff (sky, grass); by default those the model's vocabulary says.
            batch_size: images per forward pass.
            mode: "caption" lets the model describe the picture first, "skip" does not.
            settings: thresholds of the post-processing.

        Returns:
            A Perception for one image, a list for a list of images; with a list of expressions, a list per image.

        Raises:
            ValueError: both or neither of ``classes`` and ``text``, nothing in them, a task that does not go with them,
                boxes that are no boxes of the image, a picture that cannot be read (the message names it).
        """
        request = Request(task, classes, text=text, stuff=stuff, boxes=boxes, fallback=self.asked)
        several = isinstance(image, (list, tuple))
        if image is None and self._current is None:
            raise ValueError("give an image, or call set_image() first")
        pictures: list[Picture] = [None] if image is None else list(image) if several else [image]
        questions = request.questions(len(pictures), several=several, known_stuff=self.stuff_names())
        size = check_batch_size(batch_size, self.config.infer.batch_size)
        answers: list[list[Perception]] = []
        for start in range(0, len(pictures), size):
            chunk = pictures[start : start + size]
            encoded = self._current if image is None else self.encode(chunk)
            assert encoded is not None
            part = questions[start : start + size]
            answers += self.ask(encoded, part, task=request.task, batch_size=size, mode=mode, settings=settings)
        return request.shape(answers, several=several)

    def set_image(self, image: Picture) -> "Perceiver":
        """Encode a picture once; later calls of :meth:`predict` without an image ask about it."""
        self._current = self.encode([image])
        return self

    def encode(self, images: Sequence[Picture]) -> EncodedImages:
        """Run the vision side on some pictures."""
        arrays = [load_image(image) for image in images]
        mapper, probe = self.mapper("referring"), Question(expression="it")
        samples = [make_sample(mapper, array, question=probe, index=i) for i, array in enumerate(arrays)]
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
            phrases = task == "grounding"
            listed = "referring" if chunk[0][1].expression is not None else "detection"
            make = partial(
                self.mapper,
                listed if phrases or task == BOX_TASK else task,
                mode,
                sentences=task if phrases else None,
            )
            mappers = {kind: make(with_object=kind) for kind in {question.nameless for _, question in chunk}}
            samples = [
                make_sample(mappers[question.nameless], encoded.arrays[i], question=question, index=i)
                for i, question in chunk
            ]
            features = encoded.features.select([i for i, _ in chunk])
            batch = self._collate(samples)
            if task == BOX_TASK:
                batch = with_boxes(batch, [question for _, question in chunk])
            looked = self.look(batch, features=features, mode=mode)
            found = self.answer(looked, task=task, settings=settings)
            for (i, question), perception in zip(chunk, found, strict=True):
                perception._image = encoded.arrays[i]
                answers[i].append(with_every_name(perception, question))
        return answers

    def look(self, batch: Batch, *, features: VisualFeatures | None = None, mode: str | None = None) -> Looked:
        """One forward pass over a collated batch; what it saw can be read for several tasks.

        Args:
            batch: with prompts made for ``mode`` (see :meth:`mapper`).
            features: of the images, row by row, when they are encoded already.
            mode: "caption" or "skip"; the configuration's when None.
        """
        started = time.perf_counter()
        with torch.inference_mode(), self._autocast():
            batch = batch.to(self.device)
            apart = self.config.prompt.order == INSTRUCTION_FIRST and batch.family == "word" and batch.asides is None
            perceived = self.model.perceive(
                batch,
                mode=mode or self.config.infer_mode,
                visual=features,
                max_new_tokens=self.config.infer.max_new_tokens,
                known=self.names.known(batch) if apart else None,
            )
        captions: list[str | None] = [None] * len(batch)
        if perceived.caption_ids is not None:
            captions = [caption_of(self.tokenizer.decode(ids)) for ids in perceived.caption_ids]
        return Looked(batch, perceived, captions, time.perf_counter() - started)

    def answer(self, looked: Looked, *, task: str, settings: PostprocessSettings | None = None) -> list[Perception]:
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

    def mapper(
        self, task: str, mode: str | None = None, *, sentences: str | None = None, with_object: bool = False
    ) -> SampleMapper:
        """The mapper from records to samples of a public task, without targets and without drawing anything.

        Args:
            task: a public task. mode: see :meth:`predict`.
            sentences: where prompts differ between tasks, use those of this one; by default "res" for expressions.
            with_object: end lists of names with the word "object", which stands for anything.
        """
        style = replace(build_style(self.config), task=sentences or ("res" if task == "referring" else None))
        skip = (mode or self.config.infer_mode) == "skip"
        return SampleMapper(
            self.tokenizer,
            image_size=self.config.image.size,
            num_image_tokens=self.config.num_image_tokens,
            task="gres" if task == "referring" else task,
            training=False,
            settings=UnifySettings(
                open_prompt=not skip,
                dedupe=self.config.prompt.dedupe,
                style=style,
                anonymous=float(with_object),
                layout=build_layout(self.config),
            ),
            max_length=self.config.prompt.max_length,
            shown=Shown(target=False),
        )

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """A batch of samples in this model's frame and normalisation."""
        return build_collate(self.config, self.tokenizer)(samples)

    def _collate(self, samples: Sequence[Sample]) -> Batch:
        return self.collate(samples).to(self.device)

    def _autocast(self) -> Any:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16")
