"""One image at one step: what a step sees, what it gives back, and the steps' common form."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from mvplm.data.ors.callables import Callables
from mvplm.data.ors.config import OrsConfig
from mvplm.data.ors.shards import Source
from mvplm.data.ors.words import Nouns
from mvplm.structures.masks import decode_mask

_BLUE = np.array([0, 0, 255], np.uint16)


@dataclass(frozen=True)
class Tools:
    """What all steps share."""

    config: OrsConfig
    callables: Callables
    nouns: Nouns


class Work:
    """One image on its way.

    Args:
        source: where it lies. before: its line of the step before; empty for the first step. tools: what steps share.
    """

    def __init__(self, source: Source, before: Mapping[str, Any], *, tools: Tools) -> None:
        self.source = source
        self.before = before
        self.tools = tools

    @property
    def config(self) -> OrsConfig:
        """The thresholds."""
        return self.tools.config

    @property
    def items(self) -> Sequence[Any]:
        """What the step before gave."""
        return self.before["out"]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.before["image"]["height"], self.before["image"]["width"]

    @cached_property
    def pixels(self) -> np.ndarray:
        """The image, RGB uint8 (H, W, 3); read when it is first needed."""
        return self.source.image()

    def ask(self, role: str, *arguments: Any, **named: Any) -> Any:
        """What the callable of a role answers about the image."""
        return self.tools.callables[role](self.pixels, *arguments, **named)

    def mask(self, item: Mapping[str, Any]) -> np.ndarray:
        """The mask (H, W) of an item that has one."""
        return decode_mask(item["mask"], self.size)

    def overlay(self, item: Mapping[str, Any]) -> np.ndarray:
        """The image with half of blue on the item's mask."""
        return overlay(self.pixels, self.mask(item))


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of an image (H, W, 3) uint8 with 50 % blue where the mask (H, W) is."""
    shown = image.copy()
    shown[mask] = (image[mask].astype(np.uint16) + _BLUE) // 2
    return shown


@dataclass
class Found:
    """What a step made of an image.

    Attributes:
        taken: things that came in: each is kept or rejected, none is both.
        out: what goes on to the next step.
        rejects: ``{"reason", ...}`` of everything that does not.
        counts: what else is to be counted: fallbacks ...
        image: what later steps know about the image; None: as before.
    """

    taken: int
    out: list[Any] = field(default_factory=list)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    image: dict[str, Any] | None = None

    def reject(self, reason: str, **told: Any) -> None:
        """Note a thing that does not go on."""
        self.rejects.append({"reason": reason, **told})


class Step(Protocol):
    """A step of the pipeline.

    Attributes:
        name: of its files. source: name of the step it reads; "" for the first. roles: callables it cannot do without.
        optional: callables it uses when they are there.
    """

    name: str
    source: str
    roles: tuple[str, ...]
    optional: tuple[str, ...]

    @abstractmethod
    def __call__(self, work: Work) -> Found:
        """Do one image."""
