"""PASCAL VOC 2012, the 20 classes, from the class maps of the released tree (0 background, 255 border)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.category_tables import table_vocabulary
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.places import need_place
from mvplm.data.datasets.semantic_maps import LabelledPicture, SemanticFiles, open_semantic
from mvplm.structures import Record

FOLDER = "VOCdevkit/VOC2012"
TABLE = "pascal_voc_20"
COLLECTION = "pascal_voc"
BACKGROUND, BORDER = 0, 255
_SPLITS = ("train", "val")


def read_split(path: str | Path) -> list[str]:
    """Names of pictures in a split file: the first word of each line that is not empty."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def pascal_voc_files(root: str | Path, *, split: str, clean_names: bool = True) -> SemanticFiles:
    """Pictures and class maps of a split ("train" or "val"), in the order of its list.

    Raises:
        FileNotFoundError: the list is not there.
    """
    folder = need_place(root, FOLDER)
    names = read_split(need_place(folder, f"ImageSets/Segmentation/{split}.txt"))
    images, labels = need_place(folder, "JPEGImages"), need_place(folder, "SegmentationClass")
    return SemanticFiles(
        root=folder,
        pictures=tuple(LabelledPicture(name, images / f"{name}.jpg", labels / f"{name}.png") for name in names),
        vocabulary=table_vocabulary(TABLE, clean_names=clean_names),
        void=frozenset((BACKGROUND, BORDER)),
        collection=COLLECTION,
    )


def load_pascal_voc(
    root: str | Path, *, split: str, clean_names: bool = True, num: int | None = None
) -> Sequence[Record]:
    """Records of a split; the background is no class and not scored.

    Args:
        root: the datasets folder.
        split: "train" or "val".
        clean_names: "tv monitor" instead of "tvmonitor".
        num: only the first so many.

    Raises:
        FileNotFoundError: the list is not there.
        ValueError: ``num`` is below 1.
    """
    files = pascal_voc_files(root, split=split, clean_names=clean_names)
    return open_semantic(files, source=f"pascal_voc_20_{split}", num=num)


ENTRIES = {
    f"openvocab_pascal20_sem_seg_{split}": CatalogEntry(
        partial(load_pascal_voc, split=split),
        partial(pascal_voc_files, split=split),
        tuple(
            f"{FOLDER}/{place}" for place in (f"ImageSets/Segmentation/{split}.txt", "JPEGImages", "SegmentationClass")
        ),
    )
    for split in _SPLITS
}
