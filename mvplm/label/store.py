"""The folder that captions are collected in: a line per picture, captioner and sample, none lost and none twice.

``DIR/store.json`` tells the data set and, for each captioner, its model, revision and prompt. ``DIR/captions/*.jsonl``
are the shards, lines ``{"image_id", "captioner", "version", "text"}``, with ``"sample"`` where it is not 0.
``DIR/failures.jsonl`` lists calls that failed; they count as not done, so the next run tries them again.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.journal import Journal, hold_folder, read_lines, write_whole

ImageId = int | str
FORMAT = 1
SOURCE = "source-"
"""Begin of the revision of a Python function: it may be corrected between two runs, and both are recorded."""


@dataclass(frozen=True)
class CaptionerInfo:
    """What tells the captions of one captioner from those of any other.

    Attributes:
        name: key in the store, unique.
        model: directory, Hub id or ``module:function``.
        revision: commit of the Hub, or a hash of the files or of the source.
        prompt: what the model is asked; "" when it takes no question.
        decoding: how the text is drawn.
    """

    name: str
    model: str
    revision: str
    prompt: str
    decoding: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of everything but the name."""
        values = {key: value for key, value in asdict(self).items() if key != "name"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Caption:
    """One caption: the text that ``captioner`` gave for ``image_id``, the likeliest (sample 0) or another one."""

    image_id: ImageId
    captioner: str
    text: str
    sample: int = 0


@dataclass(frozen=True)
class Failure:
    """A call without a result; ``stage`` is "image" (it cannot be read) or "captioner"."""

    image_id: ImageId
    captioner: str
    stage: str
    error: str
    sample: int = 0


class CaptionStore:
    """The folder open for writing, by this process alone. A context manager.

    Args:
        folder: made when missing.
        dataset: what names the data set; the same at every run.
        captioners: what will be asked; more may come with a later run.
        shard_lines: lines after which a new shard begins.

    Raises:
        ValueError: the folder belongs to another data set, a captioner of the same name was another one then, another
            process is writing, or a shard is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        dataset: Mapping[str, Any],
        captioners: Sequence[CaptionerInfo],
        shard_lines: int = 100_000,
    ) -> None:
        self.folder = Path(folder)
        self.shard_lines = shard_lines
        (self.folder / "captions").mkdir(parents=True, exist_ok=True)
        self._lock = hold_folder(self.folder, what="captions")
        try:
            self._versions = _describe(self.folder, dataset, captioners=captioners)
            self.done: dict[str, set[tuple[ImageId, int]]] = {name: set() for name in self._versions}
            for caption in read_captions(self.folder):
                self._mark(caption)
            shards = shards_of(self.folder)
            self._journal = Journal(shards[-1] if shards else _shard(self.folder, 0))
            self._lines = sum(1 for _ in read_lines(self._journal.path))
            self._failures = Journal(self.folder / "failures.jsonl")
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> "CaptionStore":
        return self

    def __exit__(self, *_: object) -> None:
        self._journal.close()
        self._failures.close()
        os.close(self._lock)

    def add(self, captions: Sequence[Caption]) -> None:
        """Write captions; when this returns they are on the disk.

        Raises:
            ValueError: one is there already, or its captioner is unknown.
        """
        keys = Counter((caption.captioner, (caption.image_id, caption.sample)) for caption in captions)
        for (captioner, key), count in keys.items():
            if count > 1 or key in self.done[captioner]:
                raise ValueError(f"{captioner} has captioned image {key[0]!r} already (sample {key[1]})")
        if self._lines >= self.shard_lines:
            self._journal.close()
            self._journal, self._lines = Journal(_shard(self.folder, len(shards_of(self.folder)))), 0
        self._journal.append([{**_line(c), "version": self._versions[c.captioner]} for c in captions])
        self._lines += len(captions)
        for caption in captions:
            self._mark(caption)

    def note(self, failures: Sequence[Failure]) -> None:
        """Write down calls that failed."""
        self._failures.append([_line(failure) for failure in failures])

    def _mark(self, caption: Caption) -> None:
        done = self.done.setdefault(caption.captioner, set())
        if (caption.image_id, caption.sample) in done:
            raise ValueError(
                f"{self.folder}: {caption.captioner} captioned image {caption.image_id!r} twice "
                f"(sample {caption.sample})"
            )
        done.add((caption.image_id, caption.sample))


def read_captions(folder: str | Path) -> Iterator[Caption]:
    """Every caption of a store, in the order they were written.

    Raises:
        ValueError: a shard is damaged; the message names file and line.
    """
    for shard in shards_of(Path(folder)):
        for number, entry in enumerate(read_lines(shard), 1):
            try:
                yield Caption(
                    entry["image_id"], str(entry["captioner"]), str(entry["text"]), int(entry.get("sample", 0))
                )
            except KeyError as error:
                raise ValueError(f"{shard}, line {number} has no {error}") from error


def open_failures(folder: str | Path) -> list[Failure]:
    """The last failure of every picture, captioner and sample that still has no caption."""
    done = {(caption.captioner, (caption.image_id, caption.sample)) for caption in read_captions(folder)}
    last: dict[tuple[str, tuple[ImageId, int]], Failure] = {}
    for entry in read_lines(Path(folder) / "failures.jsonl"):
        failure = Failure(**entry)
        last[failure.captioner, (failure.image_id, failure.sample)] = failure
    return [failure for key, failure in last.items() if key not in done]


def read_description(folder: str | Path) -> dict[str, Any]:
    """What ``store.json`` tells: ``{"format", "dataset", "captioners"}``.

    Raises:
        FileNotFoundError: the folder holds no captions.
        ValueError: the file is damaged or of an unknown format.
    """
    path = Path(folder) / "store.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no captions: {path.name} is not there (mvplm label writes it)")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT}")
    return described


def _line(entry: Caption | Failure) -> dict[str, Any]:
    """The entry for a file; a first caption needs no number, as in stores that know no other."""
    return {key: value for key, value in asdict(entry).items() if key != "sample" or value}


def shards_of(folder: Path) -> list[Path]:
    """The shards of a store, oldest first."""
    return sorted((folder / "captions").glob("*.jsonl"))


def _shard(folder: Path, number: int) -> Path:
    return folder / "captions" / f"{number:06d}.jsonl"


def _describe(folder: Path, dataset: Mapping[str, Any], *, captioners: Sequence[CaptionerInfo]) -> dict[str, str]:
    """Check and complete ``store.json``; returns the version of every captioner."""
    infos = {info.name: {**asdict(info), "version": info.version} for info in captioners}
    if len(infos) < len(captioners):
        twice = [name for name, count in Counter(info.name for info in captioners).items() if count > 1]
        raise ValueError(f"two captioners are called {twice[0]!r}; name them apart: NAME=SPEC")
    before: dict[str, Any] = {"dataset": dict(dataset), "captioners": {}}
    if (folder / "store.json").is_file():
        before = read_description(folder)
        if before["dataset"] != json.loads(json.dumps(dataset)):
            raise ValueError(
                f"{folder} holds captions of {before['dataset']}, not of {dict(dataset)}; take another folder"
            )
    for name, info in infos.items():
        known = before["captioners"].get(name, info)
        info["decoding"] = {**known["decoding"], **json.loads(json.dumps(info["decoding"]))}
        for key in ("model", "revision", "prompt", "decoding"):
            corrected = key == "revision" and known[key].startswith(SOURCE) and info[key].startswith(SOURCE)
            # What a captioner that has given one caption of each picture draws further ones with is no contradiction.
            added = key == "decoding" and "drawn" not in known[key] and {**info[key], **known[key]} == info[key]
            if known[key] != info[key] and not corrected and not added:
                raise ValueError(
                    f"captioner {name!r} of {folder} had {key} {known[key]!r}, now it is {info[key]!r}; "
                    f"give the new one another name: NAME=SPEC"
                )
        earlier = [old for old in (*known.get("earlier", ()), known["version"]) if old != info["version"]]
        infos[name] = {**info, "earlier": list(dict.fromkeys(earlier))}
    known_and_new: dict[str, Any] = {**before["captioners"], **infos}
    described = {"format": FORMAT, "dataset": dict(dataset), "captioners": known_and_new}
    write_whole(folder / "store.json", json.dumps(described, indent=1, ensure_ascii=False) + "\n")
    return {name: info["version"] for name, info in known_and_new.items()}
