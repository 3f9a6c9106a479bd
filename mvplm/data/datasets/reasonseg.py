"""ReasonSeg: long questions whose answer is a region.

::

    reason_seg/                              (or ReasonSeg/, reason_seg/ReasonSeg/)
      train/  *.jpg  *.json
      val/    *.jpg  *.json
      test/   *.jpg  *.json

A picture's file holds ``{"text": [...], "is_sentence": bool, "shapes": [{"label", "shape_type", "points": [[x, y],
...]}]}``. Polygons labelled "target" are painted from the largest to the smallest and make one object; those labelled
"ignore" are painted in the same order and become a crowd region, those labelled "flag" mean nothing.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import either, need_place
from mvplm.data.images import image_size
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import encode_mask, tight_box

SPLITS = ("train", "val", "test")
FOLDERS = ("reason_seg", "ReasonSeg", "reason_seg/ReasonSeg")
_TARGET, _IGNORE = 1, 255


def load_reasonseg(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of a split, one per picture, in the order of their names.

    Args:
        root: folder of the datasets.
        split: one of ``SPLITS``.
        num: only the first so many records.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
        ValueError: ``num`` below 1.
    """
    folder = need_place(root, *(f"{place}/{split}" for place in FOLDERS))
    images = sorted(folder.glob("*.jpg"))
    if not images:
        raise FileNotFoundError(f"no picture (*.jpg) in {folder}")
    records = ReasonSeg(images, source=f"reasonseg_{split}")
    return records if num is None else FirstRecords(records, num)


class ReasonSeg(RecordSequence):
    """Questions about a region; the annotation stands beside its picture under the same name.

    Args:
        images: the pictures.
        source: name for messages.
    """

    collection = "reasonseg"

    def __init__(self, images: Sequence[Path], *, source: str) -> None:
        self._images = list(images)
        self._source = source

    def __len__(self) -> int:
        return len(self._images)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return self._images[index].name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``: its name."""
        return self._images[index].stem

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: no annotation beside the picture.
            ValueError: the annotation is malformed.
        """
        path = self._images[index].with_suffix(".json")
        content = _read(path)
        size = image_size(self._images[index])
        painted = paint(content["shapes"], size)
        target = _region(painted == _TARGET, iscrowd=False)
        kind = "sentence" if content["is_sentence"] else "phrase"
        return Record(
            image_id=path.stem,
            image=self._images[index],
            size=size,
            source=self._source,
            annotations=(*target, *_region(painted == _IGNORE, iscrowd=True)),
            expressions=tuple(
                Expression(" ".join(text.split()), (0,) if target else (), kind, place)
                for place, text in enumerate(content["text"])
            ),
            exhaustive=False,
        )


def paint(shapes: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W): 0 nothing, 1 target, 255 ignore; large polygons first, their outlines belong to them."""
    drawn = []
    for shape in shapes:
        label = str(shape["label"]).lower()
        if label == "flag":
            continue
        points = [(int(x), int(y)) for x, y in shape["points"]]
        layer = Image.new("L", (size[1], size[0]))
        if len(points) > 2:
            ImageDraw.Draw(layer).polygon(points, fill=1, outline=1)
        mask = np.asarray(layer, bool)
        drawn.append((int(mask.sum()), _IGNORE if "ignore" in label else _TARGET, mask))
    painted = np.zeros(size, np.uint8)
    for _, value, mask in sorted(drawn, key=lambda part: -part[0]):
        painted[mask] = value
    return painted


def _region(mask: np.ndarray, *, iscrowd: bool) -> list[Annotation]:
    """Annotation of a mask (H, W); none when it is empty."""
    found = tight_box(mask)
    if found is None:
        return []
    box = found.tolist()
    return [Annotation((box[0], box[1], box[2], box[3]), segmentation=encode_mask(mask), iscrowd=iscrowd)]


def _read(path: Path) -> dict[str, Any]:
    """The annotation file; a few of the published ones are in Windows' code page instead of UTF-8."""
    data = path.read_bytes()
    try:
        content = json.loads(_decoded(data))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict) or not {"text", "is_sentence", "shapes"} <= set(content):
        raise ValueError(f"{path} needs the keys text, is_sentence and shapes")
    return content


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


ENTRIES = {
    f"reasonseg_{split}": CatalogEntry(
        partial(load_reasonseg, split=split), needs=(either(*(f"{folder}/{split}" for folder in FOLDERS)),)
    )
    for split in SPLITS
}
