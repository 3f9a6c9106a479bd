"""gRefCOCO: expressions for one object, several or none.

::

    refer/grefcoco/   grefs(unc).json  instances.json    (or refer_seg/grefcoco/, or grefcoco/)
    refer/images/mscoco/images/train2014/*.jpg           (or coco/train2014/, or coco/train2017/)

The refs are a list of ``{"ref_id", "ann_id": [...], "no_target", "image_id", "split", "file_name", "sentences":
[{"sent_id", "sent", ...}]}``; nothing fits where ``ann_id`` is ``[-1]`` or empty.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.data.datasets.refer import COCO_IMAGES, ReferRecords, read_entries, read_refs, refer_needs, refs_places
from mvplm.structures import Record

SPLITS = ("train", "val", "testA", "testB")


def load_grefcoco(root: str | Path, *, split: str, per: str | None = None, num: int | None = None) -> Sequence[Record]:
    """Records of a split; expressions have the kind "none" or "multiple" where they do not mean one object.

    Args:
        root: folder of the datasets.
        split: one of ``SPLITS``.
        per, num: as for ``load_refcoco``.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: malformed refs, unknown ``per``, or ``num`` below 1.
    """
    file = need_place(root, *refs_places("grefcoco", "unc"))
    images, instances = need_place(root, *COCO_IMAGES), need_place(file.parent, "instances.json")
    records: RecordSequence = ReferRecords(
        read_refs(read_entries(file), split=split, path=file),
        instances=instances,
        images=images,
        per=per or ("ref" if split == "train" else "image"),
        source=f"grefcoco_unc_{split}",
    )
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=file.parent, images=images, instances=(instances,), referring=file)
    return records


ENTRIES = {
    f"grefcoco_unc_{split}": CatalogEntry(
        partial(load_grefcoco, split=split), needs=refer_needs("grefcoco", "unc", images=COCO_IMAGES)
    )
    for split in SPLITS
}
