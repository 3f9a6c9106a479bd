"""Panoptic answers in the format of panopticapi: a JSON file, and a folder of PNGs of the same name beside it."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mvplm.data.datasets.coco_files import read_coco
from mvplm.data.panoptic_png import read_panoptic, write_panoptic
from mvplm.data.preparation import whole_file
from mvplm.data.segments import segment_entries
from mvplm.data.streamed_list import Share, StreamedList


@dataclass(frozen=True)
class PanopticAnswer:
    """segment_map: (H, W) int32, 0 void. segments: its entries ``{"id", "category_id", ...}``."""

    segment_map: np.ndarray
    segments: list[dict[str, Any]]


class PanopticFile:
    """A panoptic JSON file; maps are read when they are asked for.

    The PNGs lie in the folder of the file's name without ".json", or beside the file where there is no such folder.

    Args:
        path: the JSON: ``{"annotations": [{"image_id", "file_name", "segments_info": [{"id", "category_id"}]}]}``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not of that form; the message names file and entry.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        named = self.path.with_suffix("")
        self.folder = named if named.is_dir() else self.path.parent
        self._entries: dict[Any, dict[str, Any]] = {}
        for place, entry in enumerate(read_coco(self.path, "annotations")["annotations"]):
            lacking = [key for key in ("image_id", "file_name", "segments_info") if key not in entry]
            if lacking:
                raise ValueError(f"{self.path}: annotations[{place}] has no {lacking[0]!r}")
            if entry["image_id"] in self._entries:
                raise ValueError(f"{self.path}: annotations[{place}] is a second one for image {entry['image_id']}")
            self._entries[entry["image_id"]] = entry

    @property
    def image_ids(self) -> list[Any]:
        """Ids of the images, in the file's order."""
        return list(self._entries)

    def pictures(self) -> list[Path]:
        """The PNGs, in the file's order."""
        return [self.folder / entry["file_name"] for entry in self._entries.values()]

    def read(self, image_id: int | str, size: tuple[int, int]) -> PanopticAnswer:
        """The answer about an image of ``size`` (H, W).

        Raises:
            FileNotFoundError: its PNG is not there.
            ValueError: there is none, or its PNG has another size or cannot be read; the message names the file.
        """
        if image_id not in self._entries:
            raise ValueError(f"{self.path}: no entry for image {image_id}; every image needs one, if without segments")
        entry = self._entries[image_id]
        return PanopticAnswer(read_panoptic(self.folder / entry["file_name"], size), entry["segments_info"])


class PanopticWriter:
    """Writes answers one by one; JSON and pictures appear when the ``with`` block ends without an error.

    Args:
        path: the JSON file; PNGs go to the folder of its name without the ending, in the place of what is there.
        categories: entries ``{"id", "name", "isthing"}``.
        share: the process that writes, of several.
    """

    def __init__(
        self, path: str | Path, categories: Sequence[Mapping[str, Any]], *, share: Share | None = None
    ) -> None:
        self._path = Path(path)
        self._folder = self._path.with_suffix("")
        self._part = self._folder.with_name(f".part-{self._folder.name}")
        listed = json.dumps([dict(category) for category in categories])
        self._list = StreamedList(
            self._path, share=share, around=('{"annotations": [', f'], "categories": {listed}}}'), first=self._move
        )

    def __enter__(self) -> "PanopticWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._list.share.world == 1:
            shutil.rmtree(self._part, ignore_errors=True)
        self._list.__exit__(kind, error, trace)

    def add(self, image_id: int | str, answer: PanopticAnswer, *, file_name: str | None = None, place: int = 0) -> None:
        """Write one answer; areas and boxes of its segments are counted here. A second one for an image is left out.

        Args:
            image_id: of the image. answer: ids in [1, 2^24); segments without pixels are left out.
            file_name: of the PNG; None takes the id, in twelve digits where it is a number.
            place: of the image in its data set; entries stand in this order.

        Raises:
            ValueError: the map holds an id outside of [0, 2^24), or one that no segment lists.
        """
        if image_id in self._list:
            return
        categories = {segment["id"]: segment["category_id"] for segment in answer.segments}
        unknown = np.setdiff1d(answer.segment_map, [0, *categories]).tolist()
        if unknown:
            raise ValueError(f"image {image_id}: the map holds ids {unknown[:10]} that no segment lists")
        if file_name is None:
            file_name = f"{image_id:012d}.png" if isinstance(image_id, int) else f"{image_id}.png"
        crowds = [segment["id"] for segment in answer.segments if segment.get("iscrowd")]
        segments = segment_entries(answer.segment_map, categories, crowds=crowds)
        with whole_file(self._part / file_name) as part:
            write_panoptic(answer.segment_map, part)
        entry = {"image_id": image_id, "file_name": file_name, "segments_info": segments}
        self._list.add(image_id, [entry], place=place)

    def _move(self, entries: Iterator[str]) -> None:
        """Put the folder of pictures in its place, without those that no entry names."""
        named = {self._part / json.loads(entry)["file_name"] for entry in entries}
        self._part.mkdir(exist_ok=True)
        for picture in self._part.rglob("*"):
            if picture.is_file() and picture not in named:
                picture.unlink()
        # The JSON of an earlier run goes first: it must not stand beside pictures of this one.
        self._path.unlink(missing_ok=True)
        if self._folder.is_dir():
            shutil.rmtree(self._folder)
        self._part.replace(self._folder)
