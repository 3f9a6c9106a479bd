"""Panoptic maps of Cityscapes from its instance maps, with the names and ids of Cityscapes' own preparation.

Reads    cityscapes/gtFine/{train,val}/CITY/*_gtFine_instanceIds.png
Writes   cityscapes/gtFine/cityscapes_panoptic_{train,val}/*_gtFine_panoptic.png and their .json
Usage    python datasets/prepare_cityscapes_panoptic.py [--root $MVPLM_DATASETS] [--split train val] [--workers 4]

Start it again after an interruption: finished pictures are checked and kept.
A segment's id is its value in the instance map: the class, or 1000 x class + number. Things without a
number are crowds.
(The class maps ``*_labelIds.png`` need no preparation.)
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mvplm.data.catalog import datasets_root
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.datasets.cityscapes import FOLDER, TABLE
from mvplm.data.datasets.places import need_folder_of_pictures, need_place
from mvplm.data.label_maps import read_labels
from mvplm.data.panoptic_png import write_panoptic
from mvplm.data.preparation import Converted, convert_all, whole_file, write_json
from mvplm.data.segments import segment_entries

ENDING = "_gtFine_instanceIds.png"
ISTHING = {row["id"]: bool(row["isthing"]) for row in category_table(TABLE)}
_NUMBERED = 1000


def convert(key: str, *, folder: Path, split: str) -> Converted:
    """The panoptic map of one picture; ``key`` is its id."""
    city = key.split("_", 1)[0]
    values = read_labels(folder / split / city / f"{key}{ENDING}")
    classes = {v: v // _NUMBERED if v >= _NUMBERED else v for v in np.unique(values).tolist()}
    categories = {value: category for value, category in classes.items() if category in ISTHING}
    crowds = [value for value, category in categories.items() if value < _NUMBERED and ISTHING[category]]
    ids = np.where(np.isin(values, list(categories)), values, 0)
    target = folder / f"cityscapes_panoptic_{split}" / f"{key}_gtFine_panoptic.png"
    with whole_file(target) as file:
        write_panoptic(ids, file)
    height, width = values.shape
    name = f"{key}_gtFine_leftImg8bit.png"  # sic: so the official preparation writes it
    segments = segment_entries(ids, categories, crowds=crowds)
    entry = {
        "image": {"id": key, "width": width, "height": height, "file_name": name},
        "map": {"image_id": key, "file_name": target.name, "segments_info": segments},
    }
    return Converted(entry, (target,))


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the splits that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of data sets; default: MVPLM_DATASETS, else ./datasets")
    parser.add_argument("--split", nargs="+", choices=("train", "val"), default=["train", "val"])
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args(arguments)
    folder = need_place(datasets_root(given.root), f"{FOLDER}/gtFine")
    for split in given.split:
        maps = need_folder_of_pictures(folder, split, pattern=f"*/*{ENDING}")
        name = f"cityscapes_panoptic_{split}"
        keys = sorted(path.name.removesuffix(ENDING) for path in maps)
        work = partial(convert, folder=folder, split=split)
        entries = convert_all(keys, work, folder=folder, name=name, workers=given.workers)
        data = {"images": [e["image"] for e in entries], "annotations": [e["map"] for e in entries]}
        write_json({**data, "categories": list(category_table(TABLE))}, folder / f"{name}.json")


if __name__ == "__main__":
    main()
