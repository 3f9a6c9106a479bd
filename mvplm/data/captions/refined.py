"""Refined captions read back: records of a data set with the captions that models wrote for their pictures.

``refined.jsonl`` has one line per picture: ``{"image_id": 7, "captions": [{"captioner": "a", "text": "..."}]}``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.views import RecordView, image_ids
from mvplm.structures import Record

REFINED_FILE = "refined.jsonl"
_START, _END = b'{"image_id": ', b', "captions": '
_LOOKED_AT = 1000


def refined_line(image_id: int | str, captions: Sequence[Mapping[str, str]]) -> str:
    """The line of a picture, newline included."""
    return json.dumps({"image_id": image_id, "captions": [dict(c) for c in captions]}, ensure_ascii=False) + "\n"


class RefinedCaptions:
    """The captions of a folder by image id. In memory there are 16 bytes per picture; texts stay on disk.

    Args:
        folder: where ``mvplm label refine`` has written.

    Raises:
        FileNotFoundError: nothing is refined there.
        ValueError: a line does not have the form above.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / REFINED_FILE
        if not self.path.is_file():
            raise FileNotFoundError(f"no refined captions in {folder}: run mvplm label refine {folder}")
        keys, offsets, offset = [], [], 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                end = line.find(_END)
                if not line.startswith(_START) or end < 0 or not line.endswith(b"\n"):
                    raise ValueError(f"{self.path}, line {number} is no line of refined captions")
                keys.append(_hash(line[len(_START) : end]))
                offsets.append(offset)
                offset += len(line)
        order = np.argsort(np.array(keys, np.uint64), kind="stable")
        self._keys = np.array(keys, np.uint64)[order]
        self._offsets = np.array(offsets, np.int64)[order]

    def __len__(self) -> int:
        """Number of pictures with captions."""
        return len(self._keys)

    def __getitem__(self, image_id: int | str) -> tuple[str, ...]:
        """Texts of a picture in the order of the captioners; () when it has none."""
        key = np.uint64(_hash(json.dumps(image_id, ensure_ascii=False).encode()))
        first, last = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        for place in range(first, last):
            entry = self._entry(int(self._offsets[place]))
            if entry["image_id"] == image_id:
                return tuple(str(caption["text"]) for caption in entry["captions"])
        return ()

    def _entry(self, offset: int) -> dict[str, Any]:
        with self.path.open("rb") as file:
            file.seek(offset)
            return json.loads(file.readline())


class _WithCaptions:
    """Changes a record; a class, so that loader processes can be given it."""

    def __init__(self, captions: RefinedCaptions) -> None:
        self.captions = captions

    def __call__(self, record: Record) -> Record:
        found = self.captions[record.image_id]
        return replace(record, captions=found) if found else record


def with_captions(records: Sequence[Record], folder: str | Path) -> RecordView:
    """The records with the refined captions of ``folder``; a picture without any keeps the captions it has.

    Raises:
        FileNotFoundError: nothing is refined there.
        ValueError: none of the first pictures has a caption there: it belongs to another data set.
    """
    captions = RefinedCaptions(folder)
    looked = [image_id for image_id, _ in zip(image_ids(records), range(_LOOKED_AT), strict=False)]
    if looked and not any(captions[image_id] for image_id in looked):
        raise ValueError(f"{captions.path} has no caption for any of the first {len(looked)} pictures of the data set")
    return RecordView(records, change=_WithCaptions(captions))


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little")
