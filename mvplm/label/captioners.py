"""Captioners: what turns pictures into texts, and how one is named on the command line.

Source: MVP-LM, section 3.3 (several captioners per image).
"""

import hashlib
import importlib
import inspect
import json
import re
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mvplm.label.store import SOURCE, CaptionerInfo, ImageId

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_PROMPT = "Describe the image in two or three sentences. Mention only what is visible."
_CALLABLE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_NAMED = re.compile(r"([\w.+-]+)=(.+)", re.DOTALL)


@dataclass(frozen=True)
class Draw:
    """Which of a picture's captions is asked for.

    Attributes:
        sample: 0 is the likeliest text; higher ones are drawn at random.
        image_ids: of the pictures, in order; they seed what is drawn.
    """

    sample: int = 0
    image_ids: tuple[ImageId, ...] = ()

    def seeds(self, captioner: str) -> list[int]:
        """One seed per picture, decided by image, captioner and sample: alone, in any batch and in any run the same."""
        keys = (json.dumps([image_id, captioner, self.sample]).encode() for image_id in self.image_ids)
        return [int.from_bytes(hashlib.sha256(key).digest()[:7], "big") for key in keys]


LIKELIEST = Draw()


class Captioner(Protocol):
    """Anything with an ``info`` and a ``caption`` method."""

    info: CaptionerInfo

    @abstractmethod
    def caption(self, images: "Sequence[Image]", draw: Draw = LIKELIEST) -> list[str]:
        """One text per RGB picture, in order."""


@dataclass(frozen=True)
class CaptionerSettings:
    """How captioners that are models are run; callables only take the name and the number of samples.

    Attributes:
        prompt: the question.
        max_new_tokens: longest answer in tokens.
        samples: captions of each picture: the likeliest one (greedy decoding), and others that are drawn.
        temperature, top_p: of what is drawn; only the likeliest tokens that have ``top_p`` of the probability together.
        dtype: "auto" (as the weights are stored), "float32", "bfloat16" or "float16"; "auto" is float32 on a CPU.
        download: let the Hub be asked for what is not on this machine.
    """

    prompt: str = DEFAULT_PROMPT
    max_new_tokens: int = 160
    samples: int = 1
    temperature: float = 0.7
    top_p: float = 1.0
    dtype: str = "auto"
    download: bool = False

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"temperature must be positive and top_p in (0, 1], got {self.temperature} and {self.top_p}"
            )
        if not self.prompt.strip():
            raise ValueError("the prompt must not be empty")


@dataclass(frozen=True)
class CaptionerSpec:
    """A captioner that is not loaded yet; it can be sent to another process.

    Attributes:
        source: ``module:function``, ``module:Class``, a directory, or a Hub id.
        name: key of its captions.
        settings: how it is run.
        sample: which caption of each picture is asked for; the same loaded captioner gives them all.
    """

    source: str
    name: str
    settings: CaptionerSettings = CaptionerSettings()
    sample: int = field(default=0, compare=False)

    @property
    def is_callable(self) -> bool:
        """Python code rather than a model of transformers."""
        return _CALLABLE.fullmatch(self.source) is not None and not Path(self.source).exists()

    def describe(self) -> CaptionerInfo:
        """Model, revision and prompt, without loading weights.

        Raises:
            ValueError, FileNotFoundError: there is no such module, name, directory or model on this machine.
        """
        if self.is_callable:
            return _describe_callable(self, _find(self.source))
        from mvplm.label.huggingface import describe_model

        return describe_model(self)

    def load(self, device: str) -> Captioner:
        """The captioner, ready on a torch device ("cpu", "cuda:1"); a callable chooses its device itself."""
        if self.is_callable:
            return CallableCaptioner(self)
        from mvplm.label.huggingface import HuggingFaceCaptioner

        return HuggingFaceCaptioner(self, device=device)


def parse_captioner(text: str, settings: CaptionerSettings | None = None) -> CaptionerSpec:
    """A spec as typed: ``SPEC`` or ``NAME=SPEC``; without a name the last part of the spec is its name.

    Raises:
        ValueError: the text is empty.
    """
    named = None if Path(text).exists() else _NAMED.fullmatch(text)
    name, source = (named[1], named[2]) if named else ("", text)
    source = source.strip()
    if not source:
        raise ValueError(f"a captioner must be SPEC or NAME=SPEC, got {text!r}")
    if not name:
        name = source if _CALLABLE.fullmatch(source) else source.rstrip("/").rsplit("/", 1)[-1]
    return CaptionerSpec(source, name, settings or CaptionerSettings())


class CallableCaptioner:
    """A Python function that takes a list of RGB PIL images and returns as many texts.

    One with a parameter ``sample`` is told the number of the caption; any other is just asked again.

    A class is built once, without arguments, and its object is called: the place to load a model. An attribute
    ``prompt`` of either is recorded.
    """

    def __init__(self, spec: CaptionerSpec) -> None:
        found = _find(spec.source)
        self.info = _describe_callable(spec, found)
        self._call: Callable[..., Sequence[str]] = found() if isinstance(found, type) else found
        self._told = "sample" in inspect.signature(self._call).parameters

    def caption(self, images: "Sequence[Image]", draw: Draw = LIKELIEST) -> list[str]:
        """What the function returns, as a list."""
        return list(self._call(list(images), **({"sample": draw.sample} if self._told else {})))


def _describe_callable(spec: CaptionerSpec, found: Any) -> CaptionerInfo:
    file = getattr(sys.modules[found.__module__], "__file__", None) if hasattr(found, "__module__") else None
    revision = f"{SOURCE}{hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]}" if file else ""
    return CaptionerInfo(spec.name, spec.source, revision, str(getattr(found, "prompt", "")))


def _find(source: str) -> Any:
    """The object that ``module:name`` means; modules of the current folder are found, too."""
    module_name, _, name = source.partition(":")
    try:
        with _current_folder_importable():
            module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"captioner {source!r}: there is no module {error.name!r}") from error
    found = getattr(module, name, None)
    if not callable(found):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(f"captioner {source!r}: module {module_name!r} has no function {name!r} (has: {known})")
    return found


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")
