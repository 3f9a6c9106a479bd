"""RRSIS-D: expressions about objects in overhead pictures.

::

    refer/                                   (or refer_seg/, or the folders below right in the root)
      rrsisd/   refs(unc).p  instances.json
      images/rrsisd/JPEGImages/*.jpg

Files of the RefCOCO family; of the sentences of a ref the first one counts, as it stands (``raw``). Boxes are those of
the masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.data.datasets.refer import FOLDERS, ReferRecords, read_entries, read_refs, refer_needs, refs_places
from mvplm.structures import Annotation, Record
from mvplm.structures.masks import decode_mask, tight_box

SPLITS = ("train", "val", "test")
_FOLDER = "rrsisd"
_IMAGES = tuple(f"{folder}/images/{_FOLDER}/JPEGImages" for folder in FOLDERS)


def load_rrsis_d(root: str | Path, *, split: str, per: str | None = None, num: int | None = None) -> Sequence[Record]:
    """Records of a split.

    Args:
        root: folder of the datasets. split: one of ``SPLITS``. per, num: as for ``load_refcoco``.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a pickle of anything but plain data, malformed refs, unknown ``per``, or ``num`` below 1.
    """
    file = need_place(root, *refs_places(_FOLDER, "unc"))
    images, instances = need_place(root, *_IMAGES), need_place(file.parent, "instances.json")
    entries = [_first_sentence(entry) for entry in read_entries(file)]
    records: RecordSequence = OverheadRecords(
        read_refs(entries, split=split, path=file),
        instances=instances,
        images=images,
        per=per or ("ref" if split == "train" else "image"),
        source=f"rrsis_d_{split}",
        collection="rrsisd",
    )
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=file.parent, images=images, instances=(instances,), referring=file)
    return records


class OverheadRecords(ReferRecords):
    """As :class:`ReferRecords`, but the box of an object is the frame of its mask: the file's are in another form."""

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            ValueError: a picture or an annotation that is not in the instance file, or a mask without pixels.
        """
        record = super().record(index)
        return replace(record, annotations=tuple(_framed(annotation, record) for annotation in record.annotations))


def _framed(annotation: Annotation, record: Record) -> Annotation:
    box = None if annotation.segmentation is None else tight_box(decode_mask(annotation.segmentation, record.size))
    if box is None:
        raise ValueError(f"{record.source}: annotation {annotation.id} of image {record.image_id} has no pixel")
    x1, y1, x2, y2 = box.tolist()
    return replace(annotation, box=(x1, y1, x2, y2))


def _first_sentence(entry: Mapping[str, Any]) -> dict[str, Any]:
    said = [
        {**item, "sent": item.get("raw") or item.get("sent", "")} for item in list(entry.get("sentences") or [])[:1]
    ]
    return {**entry, "sentences": said}


ENTRIES = {
    f"rrsis_d_{split}": CatalogEntry(
        partial(load_rrsis_d, split=split), needs=refer_needs(_FOLDER, "unc", images=_IMAGES)
    )
    for split in SPLITS
}
