"""PASCAL Context with 59 or all 459 classes, as ``datasets/prepare_pascal_context.py`` lays it out.

The 59 classes count from 0 in alphabetical order, 255 is void. The 459 count from 0 in the order of the release's
``labels.txt``, 65535 is void; their names are read from that file.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from mvplm.data.datasets.category_tables import table_vocabulary
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.pascal_voc import COLLECTION
from mvplm.data.datasets.places import need_folder_of_pictures, need_place
from mvplm.data.datasets.semantic_maps import SemanticFiles, open_semantic, pair_by_stem
from mvplm.structures import Record, Vocabulary

FOLDER = "pascal_ctx_d2"
TABLE = "pascal_context_59"
LONG_SPLITS = {"train": "training", "val": "validation"}
VOID = {59: 255, 459: 65535}
ENDINGS = {59: ".png", 459: ".tif"}
LABELS = (f"{FOLDER}/labels.txt", "VOCdevkit/VOC2010/labels.txt")


def read_class_list(path: str | Path) -> dict[int, str]:
    """Names by number from lines "12: bamboo weaving".

    Raises:
        ValueError: a line has another form, or a number stands twice; the message names the line.
    """
    names: dict[int, str] = {}
    for place, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        number, colon, name = line.partition(":")
        if not colon or not number.strip().isdecimal() or not name.strip() or int(number) in names:
            raise ValueError(f'{path}, line {place}: expected "number: name" with a new number, got {line!r}')
        names[int(number)] = name.strip()
    return names


def context_vocabulary(root: str | Path, *, classes: int, clean_names: bool = True) -> Vocabulary:
    """Names of the 59 classes, or those of all 459 as ``labels.txt`` lists them (its class 0, if listed, is void).

    Raises:
        FileNotFoundError: the list of 459 names is not there.
        ValueError: it is malformed.
    """
    if classes == 59:
        return table_vocabulary(TABLE, clean_names=clean_names)
    names = {number: name for number, name in sorted(read_class_list(need_place(root, *LABELS)).items()) if number}
    return Vocabulary(tuple(names.values()), dataset_ids=tuple(number - 1 for number in names))


def pascal_context_files(root: str | Path, *, split: str, classes: int, clean_names: bool = True) -> SemanticFiles:
    """Pictures and class maps of a split ("train" or "val") for 59 or 459 classes.

    Raises:
        FileNotFoundError: a part is not there.
    """
    folder, part = need_place(root, FOLDER), LONG_SPLITS[split]
    images = need_folder_of_pictures(folder, f"images/{part}", pattern="*.jpg")
    labels = need_place(folder, f"annotations_ctx{classes}/{part}")
    return SemanticFiles(
        root=folder,
        pictures=pair_by_stem(images, labels, ending=ENDINGS[classes]),
        vocabulary=context_vocabulary(root, classes=classes, clean_names=clean_names),
        void=frozenset((VOID[classes],)),
        labels=labels,
        collection=COLLECTION,
    )


def load_pascal_context(
    root: str | Path, *, split: str, classes: int, clean_names: bool = True, num: int | None = None
) -> Sequence[Record]:
    """Records of a split.

    Args:
        root: the datasets folder.
        split: "train" or "val".
        classes: 59 or 459.
        clean_names: "potted plant" instead of "pottedplant" among the 59.
        num: only the first so many.

    Raises:
        FileNotFoundError: a part is not there.
        ValueError: ``num`` is below 1, or the list of names is malformed.
    """
    files = pascal_context_files(root, split=split, classes=classes, clean_names=clean_names)
    return open_semantic(files, source=f"pascal_context_{classes}_{split}", num=num)


def _entry(split: str, classes: int) -> CatalogEntry:
    part = LONG_SPLITS[split]
    needs = [f"{FOLDER}/images/{part}", f"{FOLDER}/annotations_ctx{classes}/{part}"]
    return CatalogEntry(
        partial(load_pascal_context, split=split, classes=classes),
        partial(pascal_context_files, split=split, classes=classes),
        (*needs, *([" or ".join(LABELS)] if classes == 459 else [])),
    )


ENTRIES = {
    f"openvocab_pascal_ctx{classes}_sem_seg_{split}": _entry(split, classes)
    for classes in (59, 459)
    for split in LONG_SPLITS
}
