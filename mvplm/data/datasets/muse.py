"""MUSE: questions whose answers are several regions, over COCO 2017.

::

    muse/MUSE_{train,val,test_less,test_many}.json   (or MUSE/, or with a small "muse_")
    coco/train2017/*.jpg  coco/val2017/*.jpg

The file is a list of ``{"file_name" or "coco_url", "height", "width", "questions": [...], "answers": [[{"segmentation",
"bbox" XYWH, "rephrased_name"}, ...], ...]}``, an answer per question. The split "test" is both test files together.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles, read_json
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import either, need_place
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import decode_mask, encode_mask, tight_box

SPLITS = {
    **{split: (split,) for split in ("train", "val", "test_less", "test_many")},
    "test": ("test_less", "test_many"),
}
_FOLDERS = ("train2017", "val2017")


def _places(split: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}_{split}.json" for folder in ("muse", "MUSE") for name in ("MUSE", "muse"))


def load_muse(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of a split, one per picture with all its questions.

    Args:
        root: folder of the datasets. split: one of ``SPLITS``. num: only the first so many records.

    Raises:
        FileNotFoundError: the file, or COCO, is not there.
        ValueError: a malformed file, or ``num`` below 1.
    """
    files = tuple(need_place(root, *_places(part)) for part in SPLITS[split])
    images = need_place(root, "coco")
    records: RecordSequence = Muse(files, images=images, source=f"muse_{split}")
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=files[0].parent, images=images, instances=files)
    return records


class Muse(RecordSequence):
    """Questions about several regions each.

    Args:
        files: annotation files. images: folder of COCO. source: name for messages.
    """

    def __init__(self, files: Sequence[Path], *, images: Path, source: str) -> None:
        self._images, self._source = images, source
        self._entries = [(file, entry) for file in files for entry in _pictures(file)]

    def __len__(self) -> int:
        return len(self._entries)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return _name(*self._entries[index]).name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``: COCO's number."""
        stem = _name(*self._entries[index]).stem
        return int(stem) if stem.isdecimal() else stem

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: the picture is in neither folder of COCO.
            ValueError: questions without answers, or a region that cannot be read; the message names the picture.
        """
        file, entry = self._entries[index]
        size, name = (int(entry["height"]), int(entry["width"])), _name(file, entry)
        questions, answers = entry["questions"], entry["answers"]
        if len(questions) != len(answers):
            raise ValueError(f"{file}: {name} has {len(questions)} questions and {len(answers)} answers")
        annotations: list[Annotation] = []
        expressions = []
        for number, (question, regions) in enumerate(zip(questions, answers, strict=True)):
            found = [_region(region, size, name=f"{file}: a region of {name}") for region in regions]
            targets = tuple(range(len(annotations), len(annotations) + len(found)))
            annotations += found
            kind = "none" if not targets else "multiple" if len(targets) > 1 else ""
            expressions.append(Expression(" ".join(str(question).split()), targets, kind, number))
        return Record(
            image_id=self.image_id(index),
            image=self._path(name),
            size=size,
            source=self._source,
            annotations=tuple(annotations),
            expressions=tuple(expressions),
            exhaustive=False,
        )

    def _path(self, name: PurePosixPath) -> Path:
        told = [name.parent.name] if name.parent.name in _FOLDERS else []
        places = [self._images / folder / name.name for folder in (*told, *_FOLDERS)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise FileNotFoundError(f"image file not found: {' or '.join(map(str, dict.fromkeys(places)))}")
        return found


def _pictures(file: Path) -> list[Any]:
    entries = read_json(file)
    if not isinstance(entries, list):
        raise ValueError(f"{file} must hold a list of pictures, got {type(entries).__name__}")
    return entries


def _region(region: Mapping[str, Any], size: tuple[int, int], *, name: str) -> Annotation:
    try:
        mask = decode_mask(region["segmentation"], size)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read: {error!r}") from error
    box = tight_box(mask)
    if box is None:
        raise ValueError(f"{name} has no pixel")
    x1, y1, x2, y2 = box.tolist()
    phrase = region.get("rephrased_name")
    return Annotation((x1, y1, x2, y2), segmentation=encode_mask(mask), phrase=phrase and str(phrase))


def _name(file: Path, entry: Mapping[str, Any]) -> PurePosixPath:
    told = entry.get("file_name") or entry.get("coco_url")
    if not told:
        raise ValueError(f"{file}: an entry has neither file_name nor coco_url: {str(entry)[:200]}")
    return PurePosixPath(str(told))


ENTRIES = {
    f"muse_{split}": CatalogEntry(
        partial(load_muse, split=split), needs=(*(either(*_places(part)) for part in parts), "coco")
    )
    for split, parts in SPLITS.items()
}
