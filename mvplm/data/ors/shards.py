"""SA-1B as it is distributed: shards of pictures, each with a JSON file of masks, as folders or as tar files.

``sa_1.json`` beside ``sa_1.jpg`` holds ``{"image": {"image_id", "width", "height", "file_name"}, "annotations": [{"id",
"segmentation": {"size", "counts"}, "bbox", "area", ...}]}``.
"""

import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from mvplm.data.images import load_image

_ENDINGS = (".json", ".jpg", ".jpeg", ".png")


class UnreadableError(ValueError):
    """An image of a shard cannot be used; ``reason`` is a short name."""

    def __init__(self, reason: str, told: str) -> None:
        super().__init__(told)
        self.reason = reason


class Place(NamedTuple):
    """Where bytes lie: in a file, from ``offset`` on, ``size`` of them; -1: all."""

    file: Path
    offset: int = 0
    size: int = -1


@dataclass(frozen=True)
class Source:
    """One image of a shard.

    Attributes:
        shard: name of the shard. name: of the image, without ending.
        places: ending -> where the bytes lie.
    """

    shard: str
    name: str
    places: Mapping[str, Place] = field(default_factory=dict)

    @property
    def picture(self) -> str:
        """The ending of the picture.

        Raises:
            UnreadableError: there is none.
        """
        found = [ending for ending in _ENDINGS[1:] if ending in self.places]
        if not found:
            raise UnreadableError("no_picture", f"{self.shard}: {self.name} has no picture")
        return found[0]

    def image(self) -> np.ndarray:
        """The picture, RGB uint8 (H, W, 3).

        Raises:
            UnreadableError: it is missing or damaged.
        """
        data = self._bytes(self.picture)
        try:
            return load_image(data)
        except ValueError as error:
            raise UnreadableError("bad_picture", f"{self.shard}: {self.name}: {error}") from error

    def content(self) -> dict[str, Any]:
        """The JSON file.

        Raises:
            UnreadableError: it is missing, no JSON or of another form.
        """
        if ".json" not in self.places:
            raise UnreadableError("no_annotations", f"{self.shard}: {self.name} has no JSON file")
        try:
            content = json.loads(self._bytes(".json"))
        except ValueError as error:
            raise UnreadableError("bad_annotations", f"{self.shard}: {self.name}.json is no JSON: {error}") from error
        if not _is_well_formed(content):
            raise UnreadableError("bad_annotations", f"{self.shard}: {self.name}.json has no image or annotations")
        return content

    def fragments(self) -> list[Mapping[str, Any]]:
        """The masks as RLE mappings."""
        return [annotation["segmentation"] for annotation in self.content()["annotations"]]

    def _bytes(self, ending: str) -> bytes:
        place = self.places[ending]
        with place.file.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.size)


@dataclass(frozen=True)
class Shard:
    """A shard: its name and its images, ordered by number, then by name."""

    name: str
    sources: Sequence[Source]


def open_shards(inputs: Sequence[str | Path]) -> list[Shard]:
    """The shards that paths mean: tar files, folders of pictures, and folders of such.

    Raises:
        FileNotFoundError: a path is not there, or holds no shard.
        ValueError: two shards of one name, or a tar file that cannot be read.
    """
    shards = [shard for path in inputs for shard in _below(Path(path))]
    names = [shard.name for shard in shards]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two shards are called {twice[0]!r}; build them into different folders")
    return sorted(shards, key=lambda shard: shard.name)


def _below(path: Path) -> Iterator[Shard]:
    if not path.exists():
        raise FileNotFoundError(f"no shard at {path}")
    if path.is_file():
        yield _of_members(path.name.removesuffix(".tar"), _tar_members(path))
        return
    parts = [part for part in sorted(path.iterdir()) if part.is_dir() or part.suffix == ".tar"]
    files = {part.name: Place(part) for part in path.iterdir() if part.is_file()}
    shard = _of_members(path.resolve().name, files)
    found = [shard] if shard.sources else [inner for part in parts for inner in _below(part)]
    if not found:
        raise FileNotFoundError(f"{path} holds neither pictures with JSON files nor tar files of them")
    yield from found


def _of_members(name: str, members: Mapping[str, Place]) -> Shard:
    images: dict[str, dict[str, Place]] = {}
    for member, place in members.items():
        path = PurePosixPath(member)
        if path.suffix.lower() in _ENDINGS:
            images.setdefault(path.stem, {})[path.suffix.lower()] = place
    sources = [Source(name, stem, places) for stem, places in images.items()]
    return Shard(name, sorted(sources, key=lambda source: (_number(source.name), source.name)))


def _number(name: str) -> int:
    digits = name.rsplit("_", 1)[-1]
    return int(digits) if digits.isdecimal() else 0


def _tar_members(path: Path) -> dict[str, Place]:
    try:
        with tarfile.open(path, "r:") as archive:
            return {one.name: Place(path, one.offset_data, one.size) for one in archive if one.isfile()}
    except tarfile.TarError as error:
        raise ValueError(f"{path} is no plain tar file (compressed ones are to be unpacked first): {error}") from error


def _is_well_formed(content: Any) -> bool:
    if not isinstance(content, dict) or not isinstance(content.get("image"), dict):
        return False
    image, annotations = content["image"], content.get("annotations")
    sized = all(isinstance(image.get(side), int) and image[side] > 0 for side in ("width", "height"))
    coded = isinstance(annotations, list) and all(
        isinstance(one, dict)
        and isinstance(one.get("segmentation"), dict)
        and list(one["segmentation"].get("size", ())) == [image["height"], image["width"]]
        for one in annotations
    )
    return "image_id" in image and sized and coded
