"""Pix2Cap-COCO: a description of every segment of COCO's panoptic maps.

::

    coco/
      annotations/pix2cap_coco_{train,val}.json      (or beside the folder annotations)
      panoptic_{train,val}2017/*.png                 (or annotations/panoptic_{train,val}2017/)
      train2017/*.jpg  val2017/*.jpg

The file is COCO's panoptic one in which every entry of ``segments_info`` has a ``description``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles, read_coco
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import either, need_place
from mvplm.data.panoptic_png import read_panoptic
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import encode_mask, tight_box

SPLITS = ("train", "val")
_SHORTEST = 3


def _files(split: str) -> tuple[str, ...]:
    return tuple(f"coco/{place}pix2cap_coco_{split}.json" for place in ("annotations/", ""))


def _maps(split: str) -> tuple[str, ...]:
    return tuple(f"coco/{place}panoptic_{split}2017" for place in ("", "annotations/"))


def load_pix2cap(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of a split, one per picture; descriptions of fewer than three letters are left out.

    Args:
        root: folder of the datasets. split: one of ``SPLITS``. num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a malformed file, or ``num`` below 1.
    """
    file, maps = need_place(root, *_files(split)), need_place(root, *_maps(split))
    images = need_place(root, f"coco/{split}2017")
    records: RecordSequence = Pix2Cap(file, maps=maps, images=images, source=f"pix2cap_{split}")
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=Path(root) / "coco", images=images, panoptic=file, panoptic_masks=maps)
    return records


class Pix2Cap(RecordSequence):
    """Descriptions of segments as expressions.

    Args:
        file: annotation file. maps: folder of the panoptic PNGs. images: folder of the pictures. source: for messages.
    """

    def __init__(self, file: Path, *, maps: Path, images: Path, source: str) -> None:
        self._file, self._maps, self._images, self._source = file, maps, images, source
        self._entries = [
            entry
            for entry in read_coco(file, "annotations")["annotations"]
            if any(_described(segment) for segment in entry["segments_info"])
        ]

    def __len__(self) -> int:
        return len(self._entries)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return f"{Path(self._entries[index]['file_name']).stem}.jpg"

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return int(self._entries[index]["image_id"])

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: no map.
            ValueError: a described segment that the map does not show.
        """
        entry = self._entries[index]
        ids = read_panoptic(self._maps / entry["file_name"])
        told = [segment for segment in entry["segments_info"] if _described(segment)]
        return Record(
            image_id=self.image_id(index),
            image=self._images / str(self.picture(index)),
            size=(int(ids.shape[0]), int(ids.shape[1])),
            source=self._source,
            annotations=tuple(self._segment(ids == int(segment["id"]), entry, id_=segment["id"]) for segment in told),
            expressions=tuple(
                Expression(" ".join(segment["description"].split()), (place,), "", int(segment["id"]))
                for place, segment in enumerate(told)
            ),
            exhaustive=False,
        )

    def _segment(self, mask: np.ndarray, entry: dict, *, id_: int) -> Annotation:
        box = tight_box(mask)
        if box is None:
            raise ValueError(f"{self._file}: {entry['file_name']} does not show segment {id_}")
        x1, y1, x2, y2 = box.tolist()
        return Annotation((x1, y1, x2, y2), segmentation=encode_mask(mask), id=int(id_))


def _described(segment: dict) -> bool:
    return len(str(segment.get("description") or "").strip()) >= _SHORTEST


ENTRIES = {
    f"pix2cap_{split}": CatalogEntry(
        partial(load_pix2cap, split=split), needs=(either(*_files(split)), either(*_maps(split)), f"coco/{split}2017")
    )
    for split in SPLITS
}
