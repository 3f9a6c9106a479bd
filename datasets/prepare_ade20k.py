"""Panoptic maps and an instance file of ADE20K from its class maps and instance maps.

Reads    ADEChallengeData2016/{images,annotations,annotations_instance}/{training,validation}
Writes   ADEChallengeData2016/ade20k_panoptic_{train,val}/*.png and ade20k_{panoptic,instance}_{train,val}.json
Usage    python datasets/prepare_ade20k.py [--root $MVPLM_DATASETS] [--split train val] [--workers 4]

Start it again after an interruption: finished pictures are checked and kept.
Stuff is painted first and things over it; pixels of a thing class that belong to no instance are void. Areas are those
of the finished map. (The class maps need no preparation: they are read as released.)
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.catalog import datasets_root
from mvplm.data.datasets.ade20k import FOLDER, LONG_SPLITS, TABLE
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.datasets.places import need_folder_of_pictures, need_place
from mvplm.data.images import image_size, load_image
from mvplm.data.label_maps import read_labels
from mvplm.data.panoptic_png import write_panoptic
from mvplm.data.preparation import Converted, convert_all, whole_file, write_json
from mvplm.data.segments import SegmentIds, segment_entries
from mvplm.structures.masks import encode_mask

THINGS = [row["id"] for row in category_table(TABLE) if row["isthing"]]
"""Instance maps number the 100 things from 1, in the order of the 150 classes."""
COLORS = {row["id"]: row["color"] for row in category_table(TABLE)}


def convert(key: str, *, folder: Path, split: str) -> Converted:
    """The panoptic map of one picture."""
    part = LONG_SPLITS[split]
    height, width = image_size(folder / "images" / part / f"{key}.jpg")
    classes = read_labels(folder / "annotations" / part / f"{key}.png") - 1
    instances = load_image(need_place(folder, f"annotations_instance/{part}/{key}.png"))
    for name, found in (("annotations", classes), ("annotations_instance", instances)):
        if found.shape[:2] != (height, width):
            raise ValueError(f"{key}: {name} has size {found.shape[:2]}, the picture {(height, width)} (H, W)")
    ids, categories = paint(classes, instances, name=key)
    target = folder / f"ade20k_panoptic_{split}" / f"{key}.png"
    with whole_file(target) as file:
        write_panoptic(ids, file)
    entry = {
        "image": {"id": key, "file_name": f"{key}.jpg", "width": width, "height": height},
        "map": {"image_id": key, "file_name": target.name, "segments_info": segment_entries(ids, categories)},
        "things": things(instances, image_id=key),
    }
    return Converted(entry, (target,))


def things(instances: np.ndarray, *, image_id: str) -> list[dict[str, Any]]:
    """COCO entries, still without ids, of an instance map whose classes ``paint`` has found to be right."""
    numbers = instances[..., 1].astype(np.int64)
    first = {number: THINGS[instances[..., 0][numbers == number][0] - 1] for number in np.unique(numbers[numbers > 0])}
    entries = segment_entries(numbers, first)
    masks = [encode_mask(numbers == entry["id"]) for entry in entries]
    return [{**e, "image_id": image_id, "segmentation": mask} for e, mask in zip(entries, masks, strict=True)]


def paint(classes: np.ndarray, instances: np.ndarray, *, name: str) -> tuple[np.ndarray, dict[int, int]]:
    """Segment ids (H, W) and the category of each.

    Args:
        classes: class from 0, (H, W); -1 is void.
        instances: (H, W, 3) uint8: thing from 1 in the first channel, number of the instance in the second.
        name: of the picture, for messages.

    Raises:
        ValueError: a class that is not there, or an instance with two classes.
    """
    given, categories = SegmentIds(COLORS), {}
    ids = np.zeros(classes.shape, np.int64)
    for category in np.unique(classes).tolist():
        if category >= len(COLORS):
            raise ValueError(f"{name}: the class map holds {category + 1}, expected 0 to {len(COLORS)}")
        if category >= 0 and category not in THINGS:
            id_ = given.next(category)
            ids[classes == category], categories[id_] = id_, category
    for number in np.unique(instances[..., 1]).tolist():
        mask = instances[..., 1] == number
        kinds = np.unique(instances[..., 0][mask]).tolist()
        if number == 0:
            continue
        if len(kinds) != 1 or not 1 <= kinds[0] <= len(THINGS):
            raise ValueError(f"{name}: instance {number} has the classes {kinds}, expected one of 1..{len(THINGS)}")
        id_ = given.next(THINGS[kinds[0] - 1])
        ids[mask], categories[id_] = id_, THINGS[kinds[0] - 1]
    return ids, categories


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert the splits that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of data sets; default: MVPLM_DATASETS, else ./datasets")
    parser.add_argument("--split", nargs="+", choices=list(LONG_SPLITS), default=list(LONG_SPLITS))
    parser.add_argument("--workers", type=int, default=4)
    given = parser.parse_args(arguments)
    folder = need_place(datasets_root(given.root), FOLDER)
    for split in given.split:
        images = need_folder_of_pictures(folder, f"images/{LONG_SPLITS[split]}", pattern="*.jpg")
        name = f"ade20k_panoptic_{split}"
        work = partial(convert, folder=folder, split=split)
        entries = convert_all([path.stem for path in images], work, folder=folder, name=name, workers=given.workers)
        data = {"images": [e["image"] for e in entries], "annotations": [e["map"] for e in entries]}
        write_json({**data, "categories": list(category_table(TABLE))}, folder / f"{name}.json")
        found = [{**thing, "id": id_} for id_, thing in enumerate((t for e in entries for t in e["things"]), 1)]
        kinds = [row for row in category_table(TABLE) if row["isthing"]]
        instances = {"images": data["images"], "annotations": found, "categories": kinds}
        write_json(instances, folder / f"ade20k_instance_{split}.json")


if __name__ == "__main__":
    main()
