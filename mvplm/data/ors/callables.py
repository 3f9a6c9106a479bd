"""What the pipeline asks models for: eight roles, and the file that says who plays them.

A callable is any object with ``name``, ``version`` and ``__call__``. With several workers it travels to other
processes, so it loads its weights when it is first called. Images are RGB uint8 (H, W, 3), masks bool (H, W), boxes
XYXY_ABS in pixels, half open.
"""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mvplm.data.ors.instances import Box
from mvplm.structures.choices import check_choice

ROLES = ("tagger", "grounder", "boxer", "segmenter", "verifier", "captioner", "describer", "regrounder")
"""Who is asked, in the order of the steps; only the captioner can be left out without stopping the pipeline."""
VERDICTS = ("category", "coverage", "purity", "unfragmented", "complete")
"""What a verifier says yes or no to, in the order in which a "no" is named."""


class Named(Protocol):
    """What every callable has: a name and a version; another version means that its answers are asked for anew."""

    name: str
    version: str


class Tagger(Named, Protocol):
    """Names what is in an image."""

    @abstractmethod
    def __call__(self, image: np.ndarray) -> Sequence[tuple[str, float]]:
        """Tags and scores."""


class Grounder(Named, Protocol):
    """Finds what a label means."""

    @abstractmethod
    def __call__(self, image: np.ndarray, label: str) -> Sequence[tuple[Box, float]]:
        """Boxes and scores."""


class Boxer(Named, Protocol):
    """Finds it again, independently and more exactly."""

    @abstractmethod
    def __call__(self, image: np.ndarray, label: str) -> Sequence[Box]:
        """Boxes."""


class Segmenter(Named, Protocol):
    """Turns a box into a coarse mask."""

    @abstractmethod
    def __call__(self, image: np.ndarray, box: Box) -> np.ndarray:
        """The mask."""


class Verifier(Named, Protocol):
    """Judges an object."""

    @abstractmethod
    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, label: str) -> Mapping[str, Any]:
        """``VERDICTS`` as booleans and, at will, a ``reason``; ``overlay`` is the image with the mask in blue."""


class Captioner(Named, Protocol):
    """Writes about all objects of a label."""

    @abstractmethod
    def __call__(self, image: np.ndarray, label: str, *, instances: Sequence[Box]) -> str:
        """The text."""


class Describer(Named, Protocol):
    """Describes one object so that it can be told from the others."""

    @abstractmethod
    def __call__(self, image: np.ndarray, overlay: np.ndarray, *, box: Box, label: str) -> str:
        """The description: category, attributes, state, relative position and context."""


class Regrounder(Named, Protocol):
    """Finds the object from its description."""

    @abstractmethod
    def __call__(self, image: np.ndarray, text: str) -> Box | None:
        """The box; None when nothing fits."""


Callables = Mapping[str, Any]
"""Role -> callable."""


def check_callables(callables: Callables) -> None:
    """Nothing, when every entry plays a role and has a name and a version. Raises ValueError otherwise."""
    for role, one in callables.items():
        check_choice("role", role, choices=ROLES)
        if not callable(one) or not all(isinstance(getattr(one, key, None), str) for key in ("name", "version")):
            raise ValueError(f"{role} must be callable and have a name and a version, both texts; got {one!r}")


def identity(callables: Callables, roles: Sequence[str]) -> dict[str, str]:
    """Role -> "name@version" of those that are there."""
    return {role: f"{callables[role].name}@{callables[role].version}" for role in roles if role in callables}


@dataclass(frozen=True)
class _Kind:
    """A way to fill a role: the roles it can play, and how it is made from a role and options."""

    roles: tuple[str, ...]
    make: Callable[..., Any]


def _words(_: str, **options: Any) -> Any:
    return WordList(**options)


def _drawn(role: str, **options: Any) -> Any:
    from mvplm.data.ors.standins import make_standin

    return make_standin(role, **options)


def _detector(role: str, **options: Any) -> Any:
    from mvplm.data.ors.detectors import make_detector

    return make_detector(role, **options)


def _sam(_: str, **options: Any) -> Any:
    from mvplm.data.ors.detectors import SamSegmenter

    return SamSegmenter(**options)


def _chat(role: str, **options: Any) -> Any:
    from mvplm.data.ors.chat import make_chat

    return make_chat(role, **options)


KINDS = {
    "words": _Kind(("tagger",), _words),
    "detector": _Kind(("grounder", "boxer", "regrounder"), _detector),
    "sam": _Kind(("segmenter",), _sam),
    "chat": _Kind(("tagger", "verifier", "captioner", "describer"), _chat),
    "drawn": _Kind(ROLES, _drawn),
}
"""What a file may name. There is no code in it: Python callables are given to ``build_ors``."""


class WordList:
    """A tagger that names the same words for every image; the grounder then says which are there.

    Args:
        words: the tags.

    Raises:
        ValueError: no words.
    """

    name = "words"

    def __init__(self, words: Sequence[str]) -> None:
        if not words or not all(isinstance(word, str) for word in words):
            raise ValueError(f"words must be a list of texts, got {words!r}")
        self.words = list(words)
        self.version = hashlib.sha256(json.dumps(self.words).encode()).hexdigest()[:12]

    def __call__(self, image: np.ndarray) -> list[tuple[str, float]]:
        """Every word with score 1."""
        return [(word, 1.0) for word in self.words]


def read_callables(path: str | Path) -> dict[str, Any]:
    """The callables that a YAML file names: role -> ``{kind: ..., options of the kind}``; models lie in local folders.

    Raises:
        FileNotFoundError: no such file, or a model's folder is not there.
        ValueError: no YAML mapping, an unknown role, kind or option, or a kind that cannot play a role.
    """
    from yaml import YAMLError, safe_load

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"file of callables not found: {path}")
    try:
        given = safe_load(path.read_text(encoding="utf-8")) or {}
    except YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(given, dict) or not all(isinstance(entry, dict) for entry in given.values()):
        raise ValueError(f"{path} must map roles to mappings with a kind, got {given!r}")
    return {str(role): _made(str(role), entry, path=path) for role, entry in given.items()}


def _made(role: str, entry: Mapping[str, Any], *, path: Path) -> Any:
    check_choice("role", role, choices=ROLES)
    fitting = [name for name, kind in KINDS.items() if role in kind.roles]
    kind = check_choice(f"kind of {role}", str(entry.get("kind")), choices=fitting)
    options = {str(key): value for key, value in entry.items() if key != "kind"}
    try:
        return KINDS[kind].make(role, **options)
    except TypeError as error:
        raise ValueError(f"{path}, {role}: {error}") from error
