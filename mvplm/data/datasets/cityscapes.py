"""Cityscapes with fine annotations: panoptic maps and class maps, under the names of detectron2.

The panoptic files are those of Cityscapes' own preparation (``datasets/prepare_cityscapes_panoptic.py`` writes the
same); class maps are the released ``*_gtFine_labelIds.png`` with official ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.datasets.category_tables import table_vocabulary
from mvplm.data.datasets.coco import open_coco
from mvplm.data.datasets.coco_files import CocoFiles, read_coco
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_folder_of_pictures, need_place
from mvplm.data.datasets.semantic_maps import LabelledPicture, SemanticFiles, open_semantic
from mvplm.structures import Record

FOLDER = "cityscapes"
TABLE = "cityscapes_19"
PICTURE = "_leftImg8bit.png"
VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)
"""Official ids of classes that evaluation ignores."""
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class CityscapesFiles(CocoFiles):
    """Pictures lie in folders of cities, and their names in the panoptic file are not those of the pictures."""

    def read(self, path: Path, *keys: str) -> dict[str, Any]:
        """Contents of the panoptic file with ``file_name`` CITY/IMAGE_leftImg8bit.png."""
        data = read_coco(path, *keys)
        return {**data, "images": [_with_place(info) for info in data.get("images", ())]}


def _with_place(info: Any) -> Any:
    return {**info, "file_name": picture_name(str(info["id"]))} if isinstance(info, Mapping) and "id" in info else info


def picture_name(image_id: str) -> str:
    """Path of a picture below its split: "ulm_000000_000019" is "ulm/ulm_000000_000019_leftImg8bit.png"."""
    return f"{image_id.split('_', 1)[0]}/{image_id}{PICTURE}"


def cityscapes_panoptic_files(root: str | Path, *, split: str) -> CityscapesFiles:
    """Paths of the panoptic files of a split ("train" or "val"). Raises FileNotFoundError when one is not there."""
    folder = need_place(root, FOLDER)
    return CityscapesFiles(
        root=folder,
        images=need_place(folder, f"leftImg8bit/{split}"),
        panoptic=need_place(folder, f"gtFine/cityscapes_panoptic_{split}.json"),
        panoptic_masks=need_place(folder, f"gtFine/cityscapes_panoptic_{split}"),
        table=TABLE,
        collection=FOLDER,
    )


def load_cityscapes_panoptic(
    root: str | Path, *, split: str, role: str | None = None, num: int | None = None
) -> Sequence[Record]:
    """Records of the panoptic maps of a split; regions of several things that nobody told apart are crowds.

    Options and errors are those of ``open_coco``; FileNotFoundError where a file is not there.
    """
    files = cityscapes_panoptic_files(root, split=split)
    return open_coco(files, role=role, clean_names=False, num=num, source=f"cityscapes_fine_panoptic_{split}")


def cityscapes_semantic_files(root: str | Path, *, split: str) -> SemanticFiles:
    """Pictures and class maps of a split ("train" or "val"). Raises FileNotFoundError when there are none."""
    folder = need_place(root, FOLDER)
    labels = need_place(folder, f"gtFine/{split}")
    images = need_folder_of_pictures(folder, f"leftImg8bit/{split}", pattern=f"*/*{PICTURE}")
    pictures = []
    for image in images:
        key = image.name.removesuffix(PICTURE)
        pictures.append(LabelledPicture(key, image, labels / image.parent.name / f"{key}_gtFine_labelIds.png"))
    return SemanticFiles(
        root=folder,
        pictures=tuple(pictures),
        vocabulary=table_vocabulary(TABLE),
        void=frozenset(VOID),
        labels=labels,
        collection=FOLDER,
    )


def load_cityscapes_semantic(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of the class maps of a split.

    Raises:
        FileNotFoundError: there are none.
        ValueError: ``num`` is below 1.
    """
    source = f"cityscapes_fine_sem_seg_{split}"
    return open_semantic(cityscapes_semantic_files(root, split=split), source=source, num=num)


def _panoptic_entry(split: str) -> CatalogEntry:
    maps = f"{FOLDER}/gtFine/cityscapes_panoptic_{split}"
    return CatalogEntry(
        partial(load_cityscapes_panoptic, split=split),
        partial(cityscapes_panoptic_files, split=split),
        (f"{FOLDER}/leftImg8bit/{split}", f"{maps}.json", maps),
    )


def _semantic_entry(split: str) -> CatalogEntry:
    return CatalogEntry(
        partial(load_cityscapes_semantic, split=split),
        partial(cityscapes_semantic_files, split=split),
        (f"{FOLDER}/leftImg8bit/{split}", f"{FOLDER}/gtFine/{split}"),
    )


ENTRIES = {
    **{f"cityscapes_fine_panoptic_{split}": _panoptic_entry(split) for split in _SPLITS},
    **{f"cityscapes_fine_sem_seg_{split}": _semantic_entry(split) for split in _SPLITS},
}
