"""Questions with written answers: samples and batches for models that answer in text, and what they wrote."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

PICTURE_ROWS = "picture_rows"
"""Argument of models that take a picture once for all rows that show it: (B,) int64, the picture of every row."""


@dataclass(frozen=True)
class Turn:
    """A question and the ids of its answer, without the end token; None where the model is to write it.

    Attributes:
        names: what is asked for: names of classes, the one expression, or nothing.
        shown: (N, H, W) bool, where each object that is asked for can be seen; None where that is not needed, or not
            known. boxes: (N, 4) int64, their boxes in steps of the codec; None as well.
        about: (K, 4) int64, the box that each token of the answer is about, -1 where there is none, see
            :func:`mvplm.textmask.whereabouts.boxes_of_tokens`; None as well.
        sketches: (N, h * w) bool, what is painted on the canvas of each object; None as well.
        drawn: (K,) int64, the row of a canvas that is written behind each token, -1 where there is none; None as well.
    """

    question: str
    answer: tuple[int, ...] | None = None
    names: tuple[str, ...] = ()
    shown: Tensor | None = field(default=None, compare=False, repr=False)
    boxes: Tensor | None = field(default=None, compare=False, repr=False)
    about: Tensor | None = field(default=None, compare=False, repr=False)
    sketches: Tensor | None = field(default=None, compare=False, repr=False)
    drawn: Tensor | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class NamedObjects:
    """The objects of a picture.

    Attributes:
        masks: (N, H, W) bool. names: N names as ids.
    """

    masks: Tensor
    names: tuple[tuple[int, ...], ...]


@dataclass
class WrittenSample:
    """A picture and what is said about it.

    Attributes:
        image: (3, H, W) uint8 RGB at its original size. image_id: for messages and results.
        form: kind of question, such as "refer.general". turns: at least one; all answered, or one open.
        objects: all of the picture's, asked for or not; None where that is not needed.
        pictured: whoever answers sees the picture; otherwise it learns how answers are written.
    """

    image: Tensor
    image_id: int | str
    form: str
    turns: tuple[Turn, ...]
    objects: NamedObjects | None = field(default=None, kw_only=True, compare=False, repr=False)
    pictured: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[0] != 3 or self.image.dtype != torch.uint8:
            raise ValueError(f"image must be uint8 (3, H, W), got {self.image.dtype} {tuple(self.image.shape)}")
        if not self.turns or any(turn.answer is None for turn in self.turns[:-1]):
            raise ValueError(f"image {self.image_id}: a sample needs turns, and only the last answer may be open")


@dataclass
class _SampleBatch:
    """What batches of written samples share.

    Attributes:
        inputs: arguments of the model by name. samples: the B samples.
    """

    inputs: dict[str, Any]
    samples: list[WrittenSample]

    @property
    def image_ids(self) -> list[int | str]:
        """B ids."""
        return [sample.image_id for sample in self.samples]

    @property
    def original_sizes(self) -> list[tuple[int, int]]:
        """B pairs (H, W)."""
        return [(int(sample.image.shape[1]), int(sample.image.shape[2])) for sample in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def _moved(self, device: torch.device | str) -> dict[str, Any]:
        return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in self.inputs.items()}


@dataclass
class WrittenBatch(_SampleBatch):
    """Samples in whole rows of picture, question and maybe answer, padded together, text on the left.

    Attributes:
        inputs: ``input_ids`` (B, T), ``attention_mask`` (B, T), pictures.
        labels: (B, T) int64, the token where it is learned and -100 elsewhere; None with open answers.
        tail: so many last positions hold every label; a host integer.
        asked: (L, 4) bool, which quarters of a visual token's cell show what the first question asks for, all pictures
            after each other; None where that is not needed.
        boxes: (L, 4) int64, the box of the object asked for that a visual token shows, in steps of the codec, -1 where
            it shows none; None as well.
        about: (B, T, 4) int64, the box that each token is about, in steps of the codec, -1 elsewhere; None as well.
        words: (L, W) int64, ids of the name of the object that a visual token shows, -1 behind them; None as well.
        sketches: (L, h * w) bool, what is painted on the canvas of that object; all False where it shows none; None as
            well.
        drawn: (B, T) int64, the row of a canvas that is written behind each token, -1 elsewhere; None as well.
    """

    labels: Tensor | None
    tail: int
    asked: Tensor | None = None
    boxes: Tensor | None = None
    about: Tensor | None = None
    words: Tensor | None = None
    sketches: Tensor | None = None
    drawn: Tensor | None = None
    family: str = field(default="caption", init=False)

    @property
    def pictured(self) -> bool:
        """Whether there are pictures."""
        return all(sample.pictured for sample in self.samples)

    def to(self, device: torch.device | str) -> "WrittenBatch":
        """The same batch with its tensors on ``device``."""
        told = {
            name: getattr(self, name) for name in ("labels", "asked", "boxes", "about", "words", "sketches", "drawn")
        }
        moved: dict[str, Any] = {name: None if value is None else value.to(device) for name, value in told.items()}
        return replace(self, inputs=self._moved(device), **moved)


@dataclass
class AskedBatch(_SampleBatch):
    """Samples with open answers; a picture that several of them share is there once, unless questions precede pictures.

    Attributes:
        inputs: of the U pictures with the fixed text before a question: ``input_ids`` (U, T) and so on, text padded on
            the left.
        rows: B positions among the pictures. questions: B lists of the ids between picture and answer.
    """

    rows: list[int]
    questions: list[list[int]]
    family: str = field(default="caption", init=False)

    def to(self, device: torch.device | str) -> "AskedBatch":
        """The same batch with its tensors on ``device``."""
        return replace(self, inputs=self._moved(device))


@dataclass(frozen=True)
class WrittenAnswer:
    """What a model wrote, and how it was read.

    Attributes:
        text: the whole answer. status: ``ok``, ``repaired``, ``truncated``, ``no_target``, ``unparsed`` or
            ``invalid``; see :class:`mvplm.textmask.TextMaskResult`. Answers with boxes: ``ok``, ``recovered``,
            ``no_target`` or ``invalid``. repairs: what was repaired, and how often.
        tokens: number of tokens written. finished: whether the model ended the answer itself.
    """

    text: str
    status: str
    repairs: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    finished: bool = True
