"""ORS-Bench, and samples of SA1B-ORS, which have its form: instructions of several kinds and the objects they mean.

::

    ors_bench/  *.jsonl   images/...

One sample per line: ``{"id", "image", "height", "width", "instruction", "kind", "ood", "instances": [{"label", "bbox":
[x1, y1, x2, y2] in pixels, half open, "mask_rle"}], "source"}``. The form is ours; the published files are not known.
An image is looked for in the folder, in its ``images``, and beside the folder (``coco/train2014/...``).
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.ors.texts import plain_text
from mvplm.data.preparation import sha256
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.choices import check_choice

KINDS = ("category_single", "category_multi", "phrasal", "descriptive")
OOD = ("category", "area", "instruction", "occlusion", "lighting", "risk")
BUCKETS = (*KINDS, *(f"ood_{name}" for name in OOD))
"""In-distribution samples by kind, the others by what is out of it."""
PARTS = ("id", "ood", *BUCKETS)
"""What a part of the benchmark can be asked for by."""
FOLDER = "ors_bench"
_KEYS = {"id", "image", "height", "width", "instruction", "kind", "instances"}


@dataclass(frozen=True)
class OrsFiles:
    """The JSONL files."""

    root: Path
    files: tuple[Path, ...]

    def hashes(self) -> dict[str, str]:
        """SHA-256 by name."""
        return {path.name: sha256(path) for path in self.files}


def load_ors_folder(
    root: str | Path, *, part: str | None = None, images: str | None = None, num: int | None = None
) -> Sequence[Record]:
    """Records of a folder of samples, one per picture, in the order of the lines.

    Args:
        root: the folder.
        part: only samples of this part, see ``PARTS``.
        images: folder of the pictures; None: see above.
        num: only the first so many records.

    Raises:
        FileNotFoundError: no JSONL file in the folder, or its picture is not there.
        ValueError: a malformed line, an unknown part or one without samples, or ``num`` below 1.
    """
    root = Path(root)
    files = tuple(sorted(root.glob("*.jsonl")))
    if not files:
        raise FileNotFoundError(f"no samples (*.jsonl) in {root}")
    if part is not None:
        check_choice("part", part, choices=PARTS)
    records = OrsRecords(OrsFiles(root, files), part=part, images=None if images is None else Path(images))
    return records if num is None else FirstRecords(records, num)


def load_ors_bench(root: str | Path, *, part: str | None = None, num: int | None = None) -> Sequence[Record]:
    """Records of ``ROOT/ors_bench``; arguments and errors as in :func:`load_ors_folder`."""
    return load_ors_folder(Path(root) / FOLDER, part=part, num=num)


class OrsRecords(RecordSequence):
    """Samples by picture; only the places of their lines are held.

    Args:
        files: the JSONL files. part: of ``PARTS``, or None. images: folder of the pictures, or None.

    Raises:
        ValueError: a malformed line, or no sample of that part.
    """

    def __init__(self, files: OrsFiles, *, part: str | None = None, images: Path | None = None) -> None:
        self.files: OrsFiles = files
        self._images = images
        self._source = f"ors_bench/{part}" if part else "ors_bench"
        self._pictures: list[str] = []
        self._lines: list[array[int]] = []
        places: dict[str, int] = {}
        for file, path in enumerate(files.files):
            for number, (offset, sample) in enumerate(_read(path)):
                if not _belongs(sample, part):
                    continue
                place = places.setdefault(sample["image"], len(places))
                if place == len(self._pictures):
                    self._pictures.append(sample["image"])
                    self._lines.append(array("q"))
                self._lines[place].extend((file, offset, number))
        if not self._pictures:
            raise ValueError(f"{files.root} has no sample{f' of part {part!r}' if part else ''}")

    def __len__(self) -> int:
        return len(self._pictures)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return Path(self._pictures[index]).name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``: its path as the samples have it."""
        return self._pictures[index]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len): the instructions of a picture and all their objects.

        Raises:
            FileNotFoundError: the picture is not there.
            ValueError: a malformed sample.
        """
        annotations: list[Annotation] = []
        expressions = []
        size = (0, 0)
        numbers = self._lines[index]
        for file, offset, number in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True):
            sample = _sample_at(self.files.files[file], offset)
            first, size = len(annotations), (sample["height"], sample["width"])
            annotations += [_annotation(one) for one in sample["instances"]]
            targets = tuple(range(first, len(annotations)))
            # Ids are numbers of lines; where there are several files, each has a million of its own.
            expressions.append(
                Expression(plain_text(sample["instruction"]), targets, bucket_of(sample), file * 10**6 + number)
            )
        return Record(
            image_id=self._pictures[index],
            image=self._path(self._pictures[index]),
            size=size,
            source=self._source,
            annotations=tuple(annotations),
            expressions=tuple(expressions),
            exhaustive=False,
        )

    def _path(self, name: str) -> Path:
        root = self.files.root
        folders = (self._images,) if self._images else (root, root / "images", root.parent)
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        raise FileNotFoundError(f"picture {name} is in none of {', '.join(map(str, folders))}")


def bucket_of(sample: Mapping[str, Any]) -> str:
    """One of ``BUCKETS``."""
    return f"ood_{sample['ood']}" if sample.get("ood") else str(sample["kind"])


def read_samples(path: Path) -> Iterator[dict[str, Any]]:
    """The samples of a JSONL file. Raises ValueError for a malformed line; the message names file and line."""
    return (sample for _, sample in _read(path))


def _belongs(sample: Mapping[str, Any], part: str | None) -> bool:
    if part in ("id", "ood"):
        return bool(sample.get("ood")) is (part == "ood")
    return part is None or bucket_of(sample) == part


def _read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Offset and content of every line."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                sample = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
            _check(sample, f"{path}, line {number}")
            yield offset, sample
            offset += len(line)


def _check(sample: Any, where: str) -> None:
    if not isinstance(sample, dict) or not set(sample) >= _KEYS:
        missing = sorted(_KEYS - set(sample)) if isinstance(sample, dict) else sorted(_KEYS)
        raise ValueError(f"{where} has no {', '.join(missing)}")
    check_choice(f"kind in {where}", sample["kind"], choices=KINDS)
    if sample.get("ood") is not None:
        check_choice(f"ood in {where}", sample["ood"], choices=OOD)
    for one in sample["instances"]:
        if not isinstance(one, dict) or not {"label", "bbox", "mask_rle"} <= set(one) or len(one["bbox"]) != 4:
            raise ValueError(f"{where}: an instance needs label, bbox with 4 numbers, and mask_rle")


def _sample_at(path: Path, offset: int) -> dict[str, Any]:
    with path.open("rb") as file:
        file.seek(offset)
        return json.loads(file.readline())


def _annotation(one: Mapping[str, Any]) -> Annotation:
    x1, y1, x2, y2 = (float(value) for value in one["bbox"])
    return Annotation((x1, y1, x2, y2), segmentation=one["mask_rle"], phrase=one["label"])


ENTRIES = {
    "ors_folder": CatalogEntry(load_ors_folder),
    FOLDER: CatalogEntry(load_ors_bench, needs=(FOLDER,)),
    **{f"{FOLDER}/{part}": CatalogEntry(partial(load_ors_bench, part=part), needs=(FOLDER,)) for part in PARTS},
}
