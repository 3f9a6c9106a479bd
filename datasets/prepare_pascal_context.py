"""Class maps of PASCAL Context, for 59 and for all 459 classes, from the release's MATLAB files.

Reads    VOCdevkit/VOC2010/{JPEGImages,ImageSets/Main/{train,val}.txt,trainval/*.mat,labels.txt}
Writes   pascal_ctx_d2/{images,annotations_ctx59,annotations_ctx459}/{training,validation} and pascal_ctx_d2/labels.txt
Usage    python datasets/prepare_pascal_context.py [--root $MVPLM_DATASETS] [--split train val] [--workers 4]

Start it again after an interruption: finished pictures are checked and kept.
59 classes: PNG, alphabetical from 0, every other class is void (255). 459 classes: 16-bit TIFF, numbers of the release
less one, void is 65535. Pictures are linked where the file system can, else copied.
"""

import argparse
import os
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from mvplm.data.catalog import datasets_root
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.datasets.pascal_context import ENDINGS, FOLDER, LONG_SPLITS, TABLE, VOID, read_class_list
from mvplm.data.datasets.pascal_voc import read_split
from mvplm.data.datasets.places import need_place
from mvplm.data.label_maps import write_labels
from mvplm.data.preparation import Converted, convert_all, whole_file

RELEASE = "VOCdevkit/VOC2010"
FREQUENT = {row["full_id"]: row["id"] for row in category_table(TABLE)}
_NUMBERS = 460


def check_names(names: dict[int, str]) -> None:
    """Compare the list of names with the table of 59. Raises ValueError when the numbers mean something else."""
    wrong = [row["name"] for row in category_table(TABLE) if _plain(names.get(row["full_id"], "")) != row["name"]]
    if wrong:
        raise ValueError(f"labels.txt is not PASCAL Context's list of 459 classes: {', '.join(wrong)} stand elsewhere")


def _plain(name: str) -> str:
    return name.replace(" ", "")


def convert(key: str, *, release: Path, folder: Path, part: str) -> Converted:
    """Both maps of one picture, and the picture itself."""
    full = loadmat(release / "trainval" / f"{key}.mat")["LabelMap"].astype(np.int64)
    if full.min() < 0 or full.max() >= _NUMBERS:
        raise ValueError(f"{key}.mat holds classes from {full.min()} to {full.max()}, expected 0 to {_NUMBERS - 1}")
    frequent = np.full(_NUMBERS, VOID[59], np.uint8)
    frequent[list(FREQUENT)] = list(FREQUENT.values())
    maps = {59: frequent[full], 459: np.where(full == 0, VOID[459], full - 1).astype(np.uint16)}
    written = []
    for classes, values in maps.items():
        written.append(folder / f"annotations_ctx{classes}" / part / f"{key}{ENDINGS[classes]}")
        with whole_file(written[-1]) as file:
            write_labels(values, file)
    written.append(folder / "images" / part / f"{key}.jpg")
    with whole_file(written[-1]) as file:
        _place(need_place(release, f"JPEGImages/{key}.jpg"), file)
    return Converted({"key": key}, tuple(written))


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the splits that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of data sets; default: MVPLM_DATASETS, else ./datasets")
    parser.add_argument("--split", nargs="+", choices=list(LONG_SPLITS), default=list(LONG_SPLITS))
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args(arguments)
    root = datasets_root(given.root)
    release, folder = need_place(root, RELEASE), root / FOLDER
    names = need_place(release, "labels.txt")
    check_names(read_class_list(names))
    for split in given.split:
        keys = read_split(need_place(release, f"ImageSets/Main/{split}.txt"))
        work = partial(convert, release=release, folder=folder, part=LONG_SPLITS[split])
        convert_all(keys, work, folder=folder, name=f"pascal_context_{split}", workers=given.workers)
    with whole_file(folder / "labels.txt") as file:
        shutil.copyfile(names, file)


if __name__ == "__main__":
    main()
