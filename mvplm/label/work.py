"""One batch of captioning, and the plainest place to do it: this process."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mvplm.label.captioners import Captioner, CaptionerSpec, Draw
from mvplm.structures import Record

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        place: its place in the data set.
        text: the caption; None when there is none.
        stage: where it went wrong: "load" (the captioner itself), "image" or "captioner"; "" when it went well.
        error: what was said then.
    """

    place: int
    text: str | None = None
    stage: str = ""
    error: str = ""


class Backend(Protocol):
    """Where captioning is done."""

    def caption(
        self, spec: CaptionerSpec, places: Sequence[int], *, batch_size: int
    ) -> Generator[list[Outcome], None, None]:
        """Outcomes of all ``places``, batch by batch, in any order; it may be closed early."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of processes and models."""


class Worker:
    """Captions batches with one captioner at a time, which stays loaded until another one is asked for.

    Nothing that goes wrong with a captioner or a picture leaves as an exception: it becomes an outcome.
    """

    def __init__(self, records: Sequence[Record], device: str = "cpu") -> None:
        self._records = records
        self._device = device
        self._spec: CaptionerSpec | None = None
        self._captioner: Captioner | None = None

    def run(self, spec: CaptionerSpec, places: Sequence[int]) -> list[Outcome]:
        """One outcome per place, in order."""
        if spec != self._spec:
            self._captioner = None
            try:
                self._captioner = spec.load(self._device)
            except Exception as error:
                return [Outcome(place, None, "load", _told(error)) for place in places]
            self._spec = spec
        assert self._captioner is not None
        images, bad, ids = {}, {}, []
        for place in places:
            try:
                record = self._records[place]
                images[place] = _picture(record)
                ids.append(record.image_id)
            except Exception as error:
                bad[place] = Outcome(place, None, "image", _told(error))
        draw = Draw(spec.sample, tuple(ids))
        found = dict(zip(images, _ask(self._captioner, images, draw=draw), strict=True)) if images else {}
        return [(bad | found)[place] for place in places]


class InProcess:
    """Captioning in this process, one batch after the other."""

    def __init__(self, records: Sequence[Record], device: str = "cpu") -> None:
        self._worker = Worker(records, device)

    def caption(
        self, spec: CaptionerSpec, places: Sequence[int], *, batch_size: int
    ) -> Generator[list[Outcome], None, None]:
        """See ``Backend``."""
        for batch in in_batches(places, batch_size):
            yield self._worker.run(spec, batch)

    def close(self) -> None:
        """Nothing to let go of."""


def in_batches(places: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """``places`` cut into pieces of ``size``, the last one shorter."""
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _picture(record: Record) -> "Image":
    from PIL import Image

    from mvplm.data.images import load_image

    return Image.fromarray(load_image(record.image))


def _ask(captioner: Captioner, images: "dict[int, Image]", *, draw: Draw) -> list[Outcome]:
    try:
        texts = captioner.caption(list(images.values()), draw)
        if len(texts) != len(images):
            raise ValueError(f"{len(texts)} texts for {len(images)} pictures")
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"a caption must be text, got {type(text).__name__}")
            text.encode()  # Half of a surrogate pair cannot be written.
    except Exception as error:
        return [Outcome(place, None, "captioner", _told(error)) for place in images]
    return [Outcome(place, text) for place, text in zip(images, texts, strict=True)]


def _told(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
