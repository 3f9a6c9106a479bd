"""ADE20K's scene parsing set of 150 classes: panoptic maps, instances and class maps.

Panoptic and instance files are those of Mask2Former's preparation or of ``datasets/prepare_ade20k.py``. Class maps are
read as released (``annotations``: 0 is void, classes count from 1) or as prepared for detectron2
(``annotations_detectron2``: classes count from 0, 255 is void).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.category_tables import table_vocabulary
from mvplm.data.datasets.coco import open_coco
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_folder_of_pictures, need_place
from mvplm.data.datasets.semantic_maps import SemanticFiles, open_semantic, pair_by_stem
from mvplm.structures import Record

FOLDER = "ADEChallengeData2016"
TABLE = "ade20k_150"
COLLECTION = "ade20k"
LONG_SPLITS = {"train": "training", "val": "validation"}
_PREPARED = "annotations_detectron2"
_RELEASED = "annotations"


def ade20k_coco_files(root: str | Path, *, split: str, part: str) -> CocoFiles:
    """Paths of the panoptic or instance files of a split ("train" or "val"); ``part`` is "panoptic" or "instance".

    Raises:
        FileNotFoundError: a file is not there.
    """
    folder = need_place(root, FOLDER)
    file = need_place(folder, f"ade20k_{part}_{split}.json")
    panoptic = part == "panoptic"
    return CocoFiles(
        root=folder,
        images=need_place(folder, f"images/{LONG_SPLITS[split]}"),
        panoptic=file if panoptic else None,
        panoptic_masks=need_place(folder, f"ade20k_panoptic_{split}") if panoptic else None,
        instances=() if panoptic else (file,),
        collection=COLLECTION,
        table=TABLE if panoptic else None,  # the instance challenge calls some classes otherwise ("windowpane")
    )


def load_ade20k(
    root: str | Path, *, split: str, part: str, role: str | None = None, num: int | None = None
) -> Sequence[Record]:
    """Records of the panoptic or instance files of a split ("train" or "val").

    Names keep their synonyms ("road, route"); how they are asked for is a setting of the run.
    Options and errors are those of ``open_coco``; FileNotFoundError where a file is not there.
    """
    files = ade20k_coco_files(root, split=split, part=part)
    return open_coco(files, role=role, clean_names=False, num=num, source=f"ade20k_{part}_{split}")


def ade20k_semantic_files(root: str | Path, *, split: str) -> SemanticFiles:
    """Pictures and class maps of a split ("train" or "val"), prepared ones first.

    Raises:
        FileNotFoundError: there are none.
    """
    folder, part = need_place(root, FOLDER), LONG_SPLITS[split]
    labels = need_place(folder, f"{_PREPARED}/{part}", f"{_RELEASED}/{part}")
    prepared = labels.parent.name == _PREPARED
    images = need_folder_of_pictures(folder, f"images/{part}", pattern="*.jpg")
    return SemanticFiles(
        root=folder,
        pictures=pair_by_stem(images, labels, ending=".png"),
        vocabulary=table_vocabulary(TABLE, offset=0 if prepared else 1),
        void=frozenset((255,) if prepared else (0,)),
        labels=labels,
        collection=COLLECTION,
    )


def load_ade20k_semantic(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of the class maps of a split ("train" or "val").

    Raises:
        FileNotFoundError: there are none.
        ValueError: ``num`` is below 1.
    """
    return open_semantic(ade20k_semantic_files(root, split=split), source=f"ade20k_sem_seg_{split}", num=num)


def _coco_entry(split: str, part: str) -> CatalogEntry:
    needs = [f"{FOLDER}/images/{LONG_SPLITS[split]}", f"{FOLDER}/ade20k_{part}_{split}.json"]
    if part == "panoptic":
        needs.append(f"{FOLDER}/ade20k_panoptic_{split}")
    return CatalogEntry(
        partial(load_ade20k, split=split, part=part), partial(ade20k_coco_files, split=split, part=part), tuple(needs)
    )


def _semantic_entry(split: str) -> CatalogEntry:
    part = LONG_SPLITS[split]
    return CatalogEntry(
        partial(load_ade20k_semantic, split=split),
        partial(ade20k_semantic_files, split=split),
        (f"{FOLDER}/images/{part}", f"{FOLDER}/{_PREPARED}/{part} or {FOLDER}/{_RELEASED}/{part}"),
    )


ENTRIES = {
    **{f"ade20k_panoptic_{split}": _coco_entry(split, "panoptic") for split in LONG_SPLITS},
    **{f"ade20k_instance_{split}": _coco_entry(split, "instance") for split in LONG_SPLITS},
    **{f"ade20k_sem_seg_{split}": _semantic_entry(split) for split in LONG_SPLITS},
}
