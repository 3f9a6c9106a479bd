"""Samples with written answers to a batch: the processor takes the pictures, questions become ids piece by piece."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from mvplm.data.collate import IGNORED
from mvplm.data.named_objects import word_rows
from mvplm.data.token_grids import HALF, TokenGrids, owners, quarter_shares
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures.written import PICTURE_ROWS, AskedBatch, WrittenBatch, WrittenSample


class WrittenCollate:
    """Makes batches for models of ``AutoModelForImageTextToText``.

    Only the fixed text before the first question goes through the processor; questions are read as plain text, so
    nothing a user writes can become a picture or a control token.

    Args:
        processor: Hugging Face processor. tokenizer: its tokenizer, plain. frame: of its chat template.
        options: further arguments of the processor for pictures, such as ``{"min_pixels": 614656}``.
        opening: id that begins a picture, in front of which the first question is put as well; None: only behind.
        grids: of visual tokens, to tell in training what they show of what is asked for; None: nothing learns that.
        image_id: id of visual tokens, for samples whose picture is left out.
        shares: the model takes a picture once that several rows show, see ``mvplm.models.text_mask.sharing``.
        whole: questions with open answers, too, become whole rows; otherwise pictures they share are there once.
    """

    def __init__(
        self,
        processor: Any,
        tokenizer: PlainTokenizer,
        *,
        frame: ChatFrame,
        options: dict[str, Any] | None = None,
        opening: int | None = None,
        whole: bool = False,
        grids: TokenGrids | None = None,
        shares: bool = False,
        image_id: int | None = None,
    ) -> None:
        self.processor = processor
        self.tokenizer = tokenizer
        self.frame = frame
        self.options = dict(options or {})
        self.opening = opening
        self.whole = whole
        self.grids = grids
        self.shares = shares
        self.image_id = image_id

    def __call__(self, samples: Sequence[WrittenSample]) -> WrittenBatch | AskedBatch:
        """The batch of B samples: with answers to learn from, or with questions to answer.

        Raises:
            ValueError: no samples, or some with open answers and some without.
        """
        samples = list(samples)
        answered = {sample.turns[-1].answer is not None for sample in samples}
        if len(answered) != 1:
            raise ValueError("a batch needs samples, either all with answers or all without")
        if not samples[0].pictured:
            return self._texts(samples)
        return self._rows(samples) if self.whole or answered == {True} else self._asked(samples)

    def heads(self, samples: Sequence[WrittenSample]) -> WrittenBatch:
        """The batch up to the pictures, to learn which visual tokens show what is asked for, and no answers."""
        samples = list(samples)
        if not samples[0].pictured:
            return self._texts(samples)
        inputs = self._joined(samples, [_Text() for _ in samples])
        return WrittenBatch(
            inputs,
            samples,
            None,
            0,
            *self._shown(samples, inputs),
            words=self._words(samples, inputs),
            sketches=self._sketches(samples, inputs),
        )

    def _texts(self, samples: list[WrittenSample]) -> WrittenBatch:
        """The batch without pictures, to learn how answers are written."""
        head = self.pictures([samples[0].image])["input_ids"][0]
        texts, rows = [self._text(sample) for sample in samples], []
        for sample, text in zip(samples, texts, strict=True):
            lead = self._lead(sample, head)
            whole = torch.cat([head[: lead.place], head.new_tensor(lead.ids), head[lead.place :]])
            rows.append(torch.cat([whole[whole != self.image_id], head.new_tensor(text.ids)]))
        longest = max(map(len, rows))
        inputs = {
            "input_ids": _pad_left(rows, longest, fill=self.tokenizer.pad_id),
            "attention_mask": _pad_left([torch.ones_like(row) for row in rows], longest, fill=0),
        }
        labels, drawn = _tokens(texts, "labels", length=longest), _tokens(texts, "drawn", length=longest)
        return WrittenBatch(inputs, samples, labels, max(len(text.labels) for text in texts), drawn=drawn)

    def ask(self, samples: Sequence[WrittenSample], *, rows: Sequence[int]) -> AskedBatch:
        """Questions about pictures that are read already; ``rows``: the picture of every sample."""
        return AskedBatch({}, list(samples), list(rows), [self._text(sample).ids for sample in samples])

    def _asked(self, samples: list[WrittenSample]) -> AskedBatch:
        """Pictures once each: samples about one picture hold the same tensor. With questions in front: one each."""
        if self.opening is not None:
            heads = self._joined(samples, [_Text() for _ in samples])
            return replace(self.ask(samples, rows=range(len(samples))), inputs=heads)
        first = {id(sample.image): sample.image for sample in samples}
        places = list(first)
        rows = [places.index(id(sample.image)) for sample in samples]
        return replace(self.ask(samples, rows=rows), inputs=self.pictures(list(first.values())))

    def _rows(self, samples: list[WrittenSample]) -> WrittenBatch:
        texts = [self._text(sample) for sample in samples]
        inputs = self._joined(samples, texts)
        longest = inputs["input_ids"].shape[1]
        learned = samples[0].turns[-1].answer is not None
        hints = learned and self.grids is not None
        return WrittenBatch(
            inputs,
            samples,
            _tokens(texts, "labels", length=longest) if learned else None,
            max(len(text.labels) for text in texts),
            *(self._shown(samples, inputs) if hints else (None, None)),
            _tokens(texts, "about", length=longest) if hints else None,
            self._words(samples, inputs) if hints else None,
            self._sketches(samples, inputs) if hints else None,
            _tokens(texts, "drawn", length=longest) if hints else None,
        )

    def _shown(self, samples: list[WrittenSample], inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """What visual tokens show of what the first question asks for: which quarters of their cells, (L, 4) bool, and
        the box of the object that covers most of them, (L, 4) int64, -1 without one; None where boxes are not told."""
        assert self.grids is not None
        found: list[Tensor] = []
        boxes: list[Tensor] = []
        for sample, grid in zip(samples, self.grids(inputs), strict=True):
            shown = sample.turns[0].shown
            if shown is None:
                raise ValueError(
                    f"image {sample.image_id}: {sample.form} does not tell where what is asked for can be seen; "
                    "leave such sources out, or set text_mask.looking to 0"
                )
            found.append(quarter_shares(shown.any(0)[None], grid)[0] >= HALF)
            told = sample.turns[0].boxes
            if told is not None:
                none = told.new_full((1, 4), -1)
                boxes.append(torch.cat([none, told])[owners(quarter_shares(shown, grid))])
        return torch.cat(found), torch.cat(boxes) if len(boxes) == len(samples) else None

    def _words(self, samples: list[WrittenSample], inputs: dict[str, Tensor]) -> Tensor | None:
        """Names of what visual tokens show, (L, W) int64, -1 behind them; None where they are not told."""
        assert self.grids is not None
        known = [sample.objects for sample in samples if sample.objects is not None]
        if len(known) < len(samples):
            return None
        longest = max((len(name) for objects in known for name in objects.names), default=0)
        found: dict[int, Tensor] = {}
        for objects, grid in zip(known, self.grids(inputs), strict=True):
            if id(objects) not in found:
                rows = word_rows([(), *objects.names], longest=longest)
                found[id(objects)] = rows[owners(quarter_shares(objects.masks, grid))]
        return torch.cat([found[id(objects)] for objects in known])

    def _sketches(self, samples: list[WrittenSample], inputs: dict[str, Tensor]) -> Tensor | None:
        """What is painted on the canvases of what visual tokens show, (L, h * w) bool; None where that is not told."""
        assert self.grids is not None
        found: list[Tensor] = []
        for sample, grid in zip(samples, self.grids(inputs), strict=True):
            shown, told = sample.turns[0].shown, sample.turns[0].sketches
            if shown is None or told is None:
                return None
            none = told.new_zeros(1, told.shape[1])
            found.append(torch.cat([none, told])[owners(quarter_shares(shown, grid))])
        return torch.cat(found)

    def _joined(self, samples: list[WrittenSample], texts: "list[_Text]") -> dict[str, Tensor]:
        """Arguments of the model: pictures, what is in front of them, and texts behind, padded on the left."""
        inputs = self._pictures_of(samples)
        given = inputs["attention_mask"].bool()
        leads = [self._lead(sample, inputs["input_ids"][row][given[row]]) for row, sample in enumerate(samples)]
        longest = max(
            int(given[row].sum()) + len(lead.ids) + len(text.ids)
            for row, (lead, text) in enumerate(zip(leads, texts, strict=True))
        )

        def joined(name: str, fill: int, *, pad: int) -> Tensor:
            whole = []
            for row, (lead, text) in enumerate(zip(leads, texts, strict=True)):
                head = inputs[name][row][given[row]]
                parts = [ids if name == "input_ids" else [fill] * len(ids) for ids in (lead.ids, text.ids)]
                first, second = (head.new_tensor(part) for part in parts)
                whole.append(torch.cat([head[: lead.place], first, head[lead.place :], second]))
            return _pad_left(whole, longest, fill=pad)

        padded = {
            name: joined(name, fill, pad=pad)
            for name, fill, pad in (
                ("input_ids", 0, self.tokenizer.pad_id),
                ("mm_token_type_ids", 0, 0),
                ("token_type_ids", 0, 0),
                ("attention_mask", 1, 0),
            )
            if name in inputs
        }
        return {**inputs, **padded}

    def _pictures_of(self, samples: list[WrittenSample]) -> dict[str, Tensor]:
        """Arguments of the model for the pictures of samples; where it can share, those they share are there once."""
        first = {id(sample.image): sample.image for sample in samples}
        if not self.shares or len(first) == len(samples):
            return self.pictures([sample.image for sample in samples])
        places = list(first)
        rows = torch.tensor([places.index(id(sample.image)) for sample in samples])
        found = self.pictures(list(first.values()))
        alike = {name: value if name == "pixel_values" else value[rows] for name, value in found.items()}
        return {**alike, PICTURE_ROWS: rows}

    def pictures(self, images: Sequence[Tensor]) -> dict[str, Tensor]:
        """Arguments of the model for images, uint8 (3, H, W), and the text before the questions, padded on the left."""
        found = self.processor(
            images=[Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images],
            text=[self.frame.before] * len(images),
            return_tensors="pt",
            padding=True,
            padding_side="left",
            **self.options,
        )
        return dict(found)

    def _lead(self, sample: WrittenSample, head: Tensor) -> "_Lead":
        """What is put into the head of a sample (T,): nothing, or the question in front of the picture."""
        if self.opening is None:
            return _Lead(0, [])
        place = int((head == self.opening).nonzero()[0])
        return _Lead(place, list(self.tokenizer.encode(sample.turns[0].question)))

    def _text(self, sample: WrittenSample) -> "_Text":
        """What stands after the head of a sample."""
        text = _Text()
        for place, turn in enumerate(sample.turns):
            if place:
                text.add(self.frame.between)
            text.add([*self.tokenizer.encode(turn.question), *self.frame.after])
            if turn.answer is not None:
                text.add([*turn.answer, self.frame.end], learned=True, about=turn.about, drawn=turn.drawn)
        return text


@dataclass(frozen=True)
class _Lead:
    """Ids that go into a head, and where."""

    place: int
    ids: list[int]


@dataclass
class _Text:
    """Ids and, in lock-step, what is learned of them, and the boxes they are about."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    about: list[list[int]] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)

    def add(
        self,
        ids: Sequence[int],
        *,
        learned: bool = False,
        about: Tensor | None = None,
        drawn: Tensor | None = None,
    ) -> None:
        told = [] if about is None else about.tolist()
        rows = [] if drawn is None else drawn.tolist()
        self.drawn += [*rows, *[-1] * (len(ids) - len(rows))]
        self.ids += ids
        self.labels += ids if learned else [IGNORED] * len(ids)
        self.about += [*told, *[[-1] * 4] * (len(ids) - len(told))]


def _tokens(texts: Sequence[_Text], name: str, *, length: int) -> Tensor:
    """What texts tell of each of their tokens, under that name, as (B, length, ...) int64."""
    rows = [torch.tensor(getattr(text, name), dtype=torch.int64) for text in texts]
    return _pad_left(rows, length, fill=IGNORED if name == "labels" else -1)


def _pad_left(rows: Sequence[Tensor], length: int, *, fill: int) -> Tensor:
    """Rows (T_i, ...) as (B, length, ...)."""
    out = torch.full((len(rows), length, *rows[0].shape[1:]), fill, dtype=rows[0].dtype)
    for row, values in zip(out, rows, strict=True):
        if len(values):
            row[-len(values) :] = values
    return out
