"""What perceivers of models that write their answers have in common."""

from collections.abc import Sequence
from typing import Any

import torch

from mvplm.config import Config
from mvplm.engine import chosen_device, native_bf16
from mvplm.questions import Question
from mvplm.structures import Exchange, Expression, Perception, Record, Vocabulary


class WritingPerceiver:
    """A model that writes, with its processor and settings.

    Args:
        system: the model and what makes batches for it; the model is put into evaluation mode.
        config: what it was built from.
        vocabulary: names the model knows to be things or stuff; other names count as things.
        dtype: "fp32" or "bf16" (autocast).
    """

    def __init__(
        self, system: Any, *, config: Config, vocabulary: Vocabulary | None = None, dtype: str = "fp32"
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

    def autocast(self) -> torch.autocast:
        """The context of precision in which the model computes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.dtype == "bf16")

    def known_stuff(self) -> set[str]:
        """Lower-case names that the vocabulary says to be stuff."""
        if self.vocabulary is None:
            return set()
        rows = zip(self.vocabulary.names, self.vocabulary.isthing, strict=True)
        return {name.lower() for name, isthing in rows if not isthing}

    def flags(self, names: Sequence[str]) -> tuple[bool, ...]:
        """Whether each name is a thing."""
        known = self.known_stuff()
        return tuple(name.lower() not in known for name in names)

    def finish(self, found: Sequence[Perception], *, looked: float, read: float) -> None:
        """Note how long results took together, and from which score on they are shown."""
        for perception in found:
            perception.display_score = self.config.post.display_score
            perception.timings = {"model": looked / len(found), "postprocess": read / len(found)}


def placement(system: Any, *, device: str, dtype: str) -> str:
    """Put the model of a system on a device ("auto" takes a GPU when there is one); the dtype it computes in there."""
    place = chosen_device(device)
    system.model.to(place)
    return "bf16" if dtype == "bf16" and native_bf16(place) else "fp32"


def record_of(array: Any, question: Question, *, task: str = "referring") -> Record:
    """The record of a question about an RGB array (H, W, 3)."""
    size = (int(array.shape[0]), int(array.shape[1]))
    if question.expression is None:
        return Record("picture", array, size, vocabulary=Vocabulary(question.names, question.isthing))
    if task == "vqa":
        return Record("picture", array, size, exchanges=(Exchange(question.expression, ""),))
    return Record("picture", array, size, expressions=(Expression(question.expression, ()),))
