"""Embeddings of names that do not depend on an image: read once, kept in memory and, where asked, on disk.

Prompts of the order "instruction_first" leave their list out at inference; what is kept here stands in for it, so a
longer list costs nothing per image. Changed weights empty the memory; files are named after the weights.
"""

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from mvplm.build import build_layout, build_style
from mvplm.config import Config
from mvplm.models.language import PrefixState
from mvplm.models.mvplm import MVPLM
from mvplm.models.names import NameSpans, NameStates
from mvplm.models.reading import KnownNames, read_lists
from mvplm.name_files import cache_folder, read_names, tensor_hash, write_names
from mvplm.prompts import NO_OBJECT_NAME, Conversation, PromptTokenizer, render_lists
from mvplm.structures import Batch, RenderedPrompt

_LOGGER = logging.getLogger("mvplm")
_LISTS_IN_MEMORY = 16
_PARTS_AT_ONCE = 8
_FORMAT = 1


class NameStore:
    """Embeddings of lists of names, and the state of the language model after what every prompt starts with.

    Args:
        model: the network. tokenizer: its tokenizer. config: what it was built from.
        autocast: gives the context the network runs in. dtype: its name, "fp32" or "bf16".
    """

    def __init__(
        self,
        model: MVPLM,
        tokenizer: PromptTokenizer,
        *,
        config: Config,
        autocast: Callable[[], AbstractContextManager[Any]],
        dtype: str,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.config = config
        self.dtype = dtype
        self._autocast = autocast
        self._style = build_style(config)
        self._stamp: tuple[int, ...] = ()
        self._lists: OrderedDict[tuple[tuple[str, ...], bool], NameStates] = OrderedDict()
        self._prefix: PrefixState | None = None
        self._weights: str | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def known(self, batch: Batch) -> KnownNames:
        """Embeddings for the rows of a batch whose prompts leave their lists out."""
        open_rows = [False] * len(batch)
        if batch.box_prompts is not None and batch.box_prompts.nameless:
            open_rows = [bool(flag) for flag in (batch.box_prompts.labels < 0).any(1).tolist()]
        rows = [self.embed(names, with_object=flag) for names, flag in zip(batch.names, open_rows, strict=True)]
        text = torch.nn.utils.rnn.pad_sequence([row.text[0] for row in rows], batch_first=True)
        blank = text.new_zeros(1, text.shape[-1])
        anything = [blank if row.anything is None else row.anything for row in rows] if any(open_rows) else []
        no_object = [row.no_object for row in rows if row.no_object is not None]
        states = NameStates(
            text, torch.cat(anything) if anything else None, torch.cat(no_object) if no_object else None
        )
        return KnownNames(states, self.prefix())

    def embed(self, names: tuple[str, ...], *, with_object: bool = False, on_disk: bool = False) -> NameStates:
        """Embeddings (1, K, C) of a list; with ``with_object`` also that of the word for anything.

        Args:
            names: K cleaned names.
            with_object: end the list with the word "object".
            on_disk: look for the embeddings in the cache folder and leave them there.
        """
        self._forget_if_changed()
        key = (names, with_object)
        if key not in self._lists:
            self._lists[key] = self._from_disk(names, with_object) if on_disk else self._read(names, with_object)
            if len(self._lists) > _LISTS_IN_MEMORY:
                self._lists.popitem(last=False)
        self._lists.move_to_end(key)
        return self._lists[key]

    def tensors(self, names: tuple[str, ...]) -> dict[str, Tensor]:
        """What a file keeps of a list; see :meth:`adopt`."""
        return _tensors_of(self.embed(names))

    def adopt(self, names: tuple[str, ...], tensors: Mapping[str, Tensor], *, facts: dict[str, Any]) -> bool:
        """Take embeddings from a file when they belong to these weights; whether they do."""
        self._forget_if_changed()
        if facts != self.facts(names):
            return False
        self._lists[(names, False)] = self._states_of(tensors, with_object=False)
        return True

    def facts(self, names: tuple[str, ...], *, with_object: bool = False) -> dict[str, Any]:
        """Everything that the embeddings of a list depend on, JSON-ready."""
        self._forget_if_changed()
        if self._weights is None:
            self._weights = tensor_hash(dict(self._tensors()))
        llm = asdict(self.config.model.llm)
        return {
            "format": _FORMAT,
            "weights": self._weights,
            "tokenizer": self.tokenizer.hash(),
            "names": list(names),
            "with_object": with_object,
            "dtype": self.dtype,
            "style": asdict(self._style),
            "hidden": self.config.model.text.hidden,
            "llm": {key: llm[key] for key in ("heads", "rope_fraction", "rope_theta")},
            "max_names": self.config.vocab.max_names,
            "max_length": self.config.prompt.max_length,
        }

    def prefix(self) -> PrefixState:
        """State of one row after wrapper and description."""
        self._forget_if_changed()
        if self._prefix is None:
            self._prefix = self._start(self._prompts(("it",), False)[0])
        return self._prefix

    def _from_disk(self, names: tuple[str, ...], with_object: bool) -> NameStates:
        facts = self.facts(names, with_object=with_object)
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        path = cache_folder() / "names" / f"{key[:40]}.safetensors"
        if path.is_file():
            try:
                file = read_names(path)
                if file.facts == facts:
                    return self._states_of(file.tensors, with_object=with_object)
                problem = "it belongs to something else"
            except (ValueError, KeyError) as error:
                problem = str(error)
            _LOGGER.warning("embeddings are computed again, the cached file %s cannot be used: %s", path, problem)
        states = self._read(names, with_object)
        try:
            write_names(path, _tensors_of(states), facts=facts)
        except OSError as error:
            _LOGGER.warning("embeddings are not cached: %s", error)
        return states

    def _states_of(self, tensors: Mapping[str, Tensor], *, with_object: bool) -> NameStates:
        """Embeddings as :func:`_tensors_of` gave them; KeyError when some are missing."""
        wanted = {"text": True, "anything": with_object, "no_object": self._style.no_object}
        return NameStates(**{key: tensors[key].to(self.device)[None] for key, needed in wanted.items() if needed})

    def _read(self, names: tuple[str, ...], with_object: bool) -> NameStates:
        prompts = self._prompts(names, with_object)
        found = []
        with torch.inference_mode(), self._autocast():
            for first in range(0, len(prompts), _PARTS_AT_ONCE):
                found.append(self._read_some(prompts[first : first + _PARTS_AT_ONCE], with_object))
        # A name has its embedding in one of the parts and zeros in the others.
        tensors = [_tensors_of(states) for states in found]
        total = {key: torch.stack([each[key] for each in tensors]).sum(0)[None] for key in tensors[0]}
        return NameStates(**total)

    def _read_some(self, prompts: list[RenderedPrompt], with_object: bool) -> NameStates:
        device, prefix = self.device, self.prefix()
        start = prefix.valid.shape[1]
        ids = [prompt.input_ids[start:] for prompt in prompts]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=self.tokenizer.pad_id)
        valid = torch.arange(padded.shape[1]) < torch.tensor([[len(row)] for row in ids])
        spans = NameSpans(
            torch.stack([prompt.name_spans for prompt in prompts]).to(device),
            _places([prompt.object_span for prompt in prompts], device) if with_object else None,
            _places([prompt.no_object_span for prompt in prompts], device) if self._style.no_object else None,
        )
        _, states = read_lists(
            self.model.llm,
            self.model.llm.branch(prefix, [0] * len(prompts)),
            text=self.model.text,
            embeddings=self.model.llm.embed(padded.to(device)),
            valid=valid.to(device),
            spans=spans.behind(start),
            rows=[0] * len(prompts),
            count=1,
        )
        return states

    def _prompts(self, names: tuple[str, ...], with_object: bool) -> list[RenderedPrompt]:
        style = self._style
        conversation = Conversation(
            "word",
            (*names, NO_OBJECT_NAME) if style.no_object else names,
            dedupe=self.config.prompt.dedupe,
            with_object=with_object,
            no_object=style.no_object,
        )
        layout, length = build_layout(self.config), self.config.prompt.max_length
        return render_lists(conversation, self.tokenizer, max_length=length, layout=layout, style=style)

    def _start(self, prompt: RenderedPrompt) -> PrefixState:
        assert prompt.list_span is not None
        ids = prompt.input_ids[None, : prompt.list_span[0]].to(self.device)
        with torch.inference_mode(), self._autocast():
            return self.model.llm.prefill(self.model.llm.embed(ids), torch.ones_like(ids, dtype=torch.bool)).state

    def _tensors(self) -> list[tuple[str, Tensor]]:
        """All weights that names go through."""
        parts = (("llm", self.model.llm.model), ("text", self.model.text.word))
        return [(f"{part}.{name}", value) for part, module in parts for name, value in module.named_parameters()]

    def _forget_if_changed(self) -> None:
        stamp = tuple(number for _, value in self._tensors() for number in (value.data_ptr(), value._version))
        if stamp != self._stamp:
            self._stamp, self._prefix, self._weights = stamp, None, None
            self._lists.clear()


def _tensors_of(states: NameStates) -> dict[str, Tensor]:
    """Embeddings of one list, without the dimension of the batch."""
    known = {"text": states.text, "anything": states.anything, "no_object": states.no_object}
    return {key: value[0] for key, value in known.items() if value is not None}


def _places(spans: list[tuple[int, int] | None], device: torch.device) -> Tensor:
    return torch.tensor([span or (0, 0) for span in spans], device=device)
