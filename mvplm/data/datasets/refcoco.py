"""RefCOCO, RefCOCO+, RefCOCOg and RefCLEF: one object per expression.

::

    refer/                                   (or refer_seg/, or the folders below right in the root)
      refcoco/   refs(unc).p  refs(google).p    instances.json
      refcoco+/  refs(unc).p                    instances.json
      refcocog/  refs(umd).p  refs(google).p    instances.json
      refclef/   refs(unc).p  refs(berkeley).p  instances.json
      images/mscoco/images/train2014/*.jpg   (or coco/train2014/, or coco/train2017/)
      images/saiapr_tc-12/*/images/*.jpg

The refs are a pickle, read without running anything in it: a list of ``{"ref_id", "ann_id", "image_id", "split",
"file_name", "sentences": [{"sent_id", "sent", ...}]}``.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.data.datasets.refer import (
    COCO_IMAGES,
    FOLDERS,
    ReferRecords,
    read_entries,
    read_refs,
    refer_needs,
    refs_places,
)
from mvplm.structures import Record

SPLITS = {
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "umd"): ("train", "val", "test"),
    ("refcocog", "google"): ("train", "val"),
    ("refclef", "unc"): ("train", "val", "testA", "testB", "testC"),
    ("refclef", "berkeley"): ("train", "val", "test"),
}
"""Splits by dataset and by who made them."""


def load_refcoco(
    root: str | Path, *, dataset: str, by: str, split: str, per: str | None = None, num: int | None = None
) -> Sequence[Record]:
    """Records of a split.

    Args:
        root: folder of the datasets.
        dataset, by, split: as in ``SPLITS``.
        per: one record per "ref", so that an epoch sees every object once, or per "image", so that a picture is encoded
            once for all its expressions. None: "ref" for training, "image" for the others.
        num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: a pickle of anything but plain data, malformed refs, unknown ``per``, or ``num`` below 1.
    """
    file = need_place(root, *refs_places(dataset, by))
    images, instances = need_place(root, *_pictures(dataset)), need_place(file.parent, "instances.json")
    records: RecordSequence = ReferRecords(
        read_refs(read_entries(file), split=split, path=file),
        instances=instances,
        images=images,
        per=per or ("ref" if split == "train" else "image"),
        source=f"{dataset}_{by}_{split}",
        collection="saiapr" if dataset == "refclef" else "",
    )
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=file.parent, images=images, instances=(instances,), referring=file)
    return records


def _pictures(dataset: str) -> tuple[str, ...]:
    return tuple(f"{folder}/images/saiapr_tc-12" for folder in FOLDERS) if dataset == "refclef" else COCO_IMAGES


ENTRIES = {
    f"{dataset}_{by}_{split}": CatalogEntry(
        partial(load_refcoco, dataset=dataset, by=by, split=split),
        needs=refer_needs(dataset, by, images=_pictures(dataset)),
    )
    for (dataset, by), splits in SPLITS.items()
    for split in splits
}
