"""COCO 2017 in its official tree, under the names of detectron2: panoptic maps, instances and captions."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.coco import open_coco
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.structures import Record

FOLDER = "coco"
_MAPS = ("panoptic_{split}", "annotations/panoptic_{split}")


def coco_2017_files(root: str | Path, *, split: str, role: str) -> CocoFiles:
    """Paths of one part of COCO 2017 below ``root``/coco; captions come along where they are there.

    Args:
        root: the datasets folder.
        split: "train2017" or "val2017".
        role: "panoptic", "instances" or "captions".

    Raises:
        FileNotFoundError: a file of the part is not there.
    """
    need_place(root, FOLDER)
    folder = Path(root) / FOLDER
    annotations = folder / "annotations"
    captions = annotations / f"captions_{split}.json"
    file = need_place(root, f"{FOLDER}/annotations/{role}_{split}.json")
    return CocoFiles(
        root=folder,
        images=need_place(root, f"{FOLDER}/{split}"),
        panoptic=file if role == "panoptic" else None,
        panoptic_masks=need_place(folder, *(m.format(split=split) for m in _MAPS)) if role == "panoptic" else None,
        instances=(file,) if role == "instances" else (),
        captions=captions if captions.is_file() else None,
        table="coco_panoptic_133",
    )


def load_coco_2017(
    root: str | Path,
    *,
    split: str,
    files_of: str,
    role: str | None = None,
    clean_names: bool = True,
    num: int | None = None,
) -> Sequence[Record]:
    """Records of one part of COCO 2017.

    Args:
        root: the datasets folder.
        split: "train2017" or "val2017".
        files_of: "panoptic", "instances" or "captions".
        role: of instances: "instance" (masks) or "detection" (boxes only); None takes the part's own.
        clean_names, num: as in ``load_coco_folder``.

    Raises:
        FileNotFoundError: a file of the part is not there.
        ValueError: unknown role, or ``num`` below 1.
    """
    files = coco_2017_files(root, split=split, role=files_of)
    return open_coco(files, role=role, clean_names=clean_names, num=num, source=f"coco_{split}")


def _entry(split: str, part: str) -> CatalogEntry:
    needs = [f"{FOLDER}/{split}", f"{FOLDER}/annotations/{part}_{split}.json"]
    if part == "panoptic":
        needs.append(" or ".join(f"{FOLDER}/{place.format(split=split)}" for place in _MAPS))
    return CatalogEntry(
        partial(load_coco_2017, split=split, files_of=part),
        partial(coco_2017_files, split=split, role=part),
        tuple(needs),
    )


ENTRIES = {
    name: _entry(f"{split}2017", part)
    for split in ("train", "val")
    for name, part in {
        f"coco_2017_{split}": "instances",
        f"coco_2017_{split}_panoptic": "panoptic",
        f"coco_2017_{split}_panoptic_with_sem_seg": "panoptic",
        f"coco_2017_{split}_captions": "captions",
    }.items()
}
