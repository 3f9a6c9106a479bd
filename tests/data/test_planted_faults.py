"""Every kind of fault, planted alone into a good dataset, is found, and nothing else is."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from oracles import dataset_trees as trees
from PIL import Image

from mvplm.data.check import check_dataset
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.panoptic_png import read_panoptic, write_panoptic
from mvplm.structures.masks import encode_mask

COCO = [dict(row) for row in category_table("coco_panoptic_133")]
INSTANCES, PANOPTIC, CAPTIONS = "coco_2017_val", "coco_2017_val_panoptic", "coco_2017_val_captions"
FOLDER, LVIS, VOC, ADE = "coco_folder", "lvis_v1_val", "openvocab_pascal20_sem_seg_val", "ade20k_sem_seg_val"
JSON = {
    INSTANCES: "coco/annotations/instances_val2017.json",
    PANOPTIC: "coco/annotations/panoptic_val2017.json",
    CAPTIONS: "coco/annotations/captions_val2017.json",
    FOLDER: "mine/refs_val.json",
    LVIS: "lvis/lvis_v1_val.json",
}


def grow(root: Path, name: str) -> None:
    """A good dataset of that name below ``root``."""
    if name in (INSTANCES, PANOPTIC, CAPTIONS):
        trees.coco_tree(root, COCO)
    elif name == LVIS:
        trees.lvis_tree(root)
    elif name == VOC:
        trees.voc_tree(root)
    elif name == ADE:
        trees.ade_release(root)
    else:
        trees.coco_tree(root, COCO, split="val")
        (root / "coco").rename(root / "mine")
        expression = {"ref_id": 5, "image": "val/000000000139.jpg", "image_id": 139, "height": 10, "width": 20}
        expression |= {"expression": "the dog", "boxes": [[4, 2, 9, 6]], "ann_ids": [31], "no_target": False}
        trees.write_json(root / "mine" / "refs_val.json", [expression])


def check(root: Path, name: str):
    return check_dataset(name, root=root / "mine", split="val") if name == FOLDER else check_dataset(name, root=root)


def findings(report) -> list[str]:
    return [str(problem) for problem in report.problems if problem.severity != "info"]


@dataclass
class Fault:
    """``plant`` gets the contents of the dataset's JSON, or the folder where there is none."""

    name: str
    expected: str
    plant: Callable
    severity: str = "error"

    @property
    def id(self) -> str:
        return f"{self.name}: {self.expected}"


def change(place: int = 0, *, of: str = "annotations", without: str = "", **values) -> Callable:
    """Sets or removes fields of one entry."""

    def plant(data):
        data[of][place].update(values)
        data[of][place].pop(without, None)

    return plant


def twin(place: int = 0, *, of: str = "annotations", **values) -> Callable:
    """Adds a changed copy of one entry."""

    def plant(data):
        data[of].append({**copy.deepcopy(data[of][place]), **values})

    return plant


def segment(place: int, **values) -> Callable:
    def plant(data):
        data["annotations"][0]["segments_info"][place].update(values)

    return plant


def add_segment(**values) -> Callable:
    def plant(data):
        data["annotations"][0]["segments_info"].append(values)

    return plant


def drop(of: str, place: int) -> Callable:
    def plant(data):
        del data[of][place]

    return plant


def no_list(data) -> None:
    del data["annotations"]


def expression(**values) -> Callable:
    def plant(data):
        data[0].update(values)

    return plant


def same_expression(data) -> None:
    data.append({**data[0], "expression": "a dog"})


def neg(data) -> None:
    data["images"][0]["neg_category_ids"].append(1)


SHORT = {"size": [10, 20], "counts": [5]}
PARTLY = {"not_exhaustive_category_ids": [21]}
ONES = encode_mask(np.ones((10, 20), bool))
JSON_FAULTS = [
    Fault(INSTANCES, "needs a list under 'annotations'", no_list),
    Fault(INSTANCES, "images[1]: lacks width", change(1, of="images", without="width")),
    Fault(INSTANCES, "images[1]: height and width must be positive", change(1, of="images", height=0)),
    Fault(INSTANCES, "images[2]: an id is a number or a text, got [5]", twin(1, of="images", id=[5], file_name="x")),
    Fault(INSTANCES, "images[2]: duplicated image id 285", twin(1, of="images", file_name="x.jpg")),
    Fault(INSTANCES, "000000000285.jpg stands for 2 image ids", twin(1, of="images", id=9), "warning"),
    Fault(INSTANCES, "image 285: image file not found", change(1, of="images", file_name="gone.jpg")),
    Fault(INSTANCES, "000000000285.jpg has size (10, 20), the file says (9, 20)", change(1, of="images", height=9)),
    Fault(INSTANCES, "categories[80]: needs an id and a name", twin(0, of="categories", id=201, name=" ")),
    Fault(INSTANCES, "duplicated category id 1", twin(0, of="categories", name="human")),
    Fault(INSTANCES, "category 1 is called 'human', officially 'person'", change(0, of="categories", name="human")),
    Fault(INSTANCES, "category 99 (lynx) is not one of the 80", twin(0, of="categories", id=99, name="lynx")),
    Fault(INSTANCES, "lacks 1 of 80 official categories: toothbrush", drop("categories", -1)),
    Fault(INSTANCES, "annotation [0]: lacks an id", change(without="id")),
    Fault(INSTANCES, "annotation 907: duplicated annotation id", change(1, id=907)),
    Fault(INSTANCES, "annotation 907: unknown category 12", change(category_id=12)),
    Fault(INSTANCES, "annotation 907: points at image 7, which is not listed", change(image_id=7)),
    Fault(INSTANCES, "annotation 908: marks the same object", twin(id=908), "warning"),
    Fault(INSTANCES, "annotation 907: iscrowd must be 0 or 1, got 'no'", change(iscrowd="no")),
    Fault(INSTANCES, "annotation 907: bbox must be", change(bbox=[12, 1, 6])),
    Fault(INSTANCES, "annotation 907: bbox must be", change(bbox=[12, 1, float("nan"), 4])),
    Fault(INSTANCES, "has no area", change(bbox=[4, 2, 0, 4], segmentation=None)),
    Fault(INSTANCES, "lies outside the image of 10 x 20", change(bbox=[15, 2, 8, 4], segmentation=None)),
    Fault(INSTANCES, "passes the border", change(bbox=[15, 2, 5.5, 4], segmentation=None), "warning"),
    Fault(INSTANCES, "mask cannot be decoded: RLE size", change(segmentation={**ONES, "size": [20, 10]})),
    Fault(INSTANCES, "mask cannot be decoded: RLE counts sum to 5", change(segmentation=SHORT)),
    Fault(INSTANCES, "a polygon needs an even count", change(segmentation=[[1, 1, 5, 5]])),
    Fault(INSTANCES, "a polygon needs an even count", change(segmentation=[[1, 1, 5, 1, 5, 5, 3]])),
    Fault(INSTANCES, "a polygon passes the border", change(segmentation=[[12, 1, 28, 1, 18, 5, 12, 5]]), "warning"),
    Fault(INSTANCES, "empty mask", change(segmentation=encode_mask(np.zeros((10, 20), bool)))),
    Fault(INSTANCES, "differs from that of its mask", change(segmentation=ONES, area=200), "warning"),
    Fault(INSTANCES, "area 90 differs from the 24 pixels", change(area=90), "warning"),
    Fault(INSTANCES, "crowd area 999 differs", change(2, area=999), "warning"),
    Fault(
        PANOPTIC,
        "lack isthing and count as things: rug-merged",
        change(132, of="categories", without="isthing"),
        "warning",
    ),
    Fault(PANOPTIC, "(person) is stuff, officially a thing", change(0, of="categories", isthing=0)),
    Fault(LVIS, "duplicated category name 'aerosol_can'", twin(of="categories", id=2)),
    Fault(PANOPTIC, "lacks segments_info", change(1, without="segments_info")),
    Fault(PANOPTIC, "points at image 5, which is not listed", change(1, image_id=5)),
    Fault(PANOPTIC, "duplicated map of image 139", change(1, image_id=139)),
    Fault(PANOPTIC, "image file not found", change(1, file_name="gone.png")),
    Fault(PANOPTIC, "segment 260: unknown category 12", segment(1, category_id=12)),
    Fault(PANOPTIC, "segment 260: area 19 differs from the 20 pixels", segment(1, area=19)),
    Fault(PANOPTIC, "segment 3226956: area 180 differs", segment(0, area=180), "warning"),
    Fault(PANOPTIC, "segment 260: iscrowd must be 0 or 1", segment(1, iscrowd=2)),
    Fault(PANOPTIC, "segment 260: duplicated segment id", add_segment(id=260, category_id=18)),
    Fault(PANOPTIC, "segment 5: empty mask", add_segment(id=5, category_id=18)),
    Fault(PANOPTIC, "segment 0: id 0 is kept for void", add_segment(id=0, category_id=18)),
    Fault(CAPTIONS, "caption 74: duplicated caption id", twin()),
    Fault(CAPTIONS, "caption 12: points at image 7", change(1, image_id=7)),
    Fault(CAPTIONS, "caption 12: empty caption", change(1, caption=" \n")),
    Fault(CAPTIONS, "its list of annotations is empty", lambda data: data["annotations"].clear(), "warning"),
    Fault(FOLDER, "duplicated ref_id", same_expression),
    Fault(FOLDER, "expression 5: lacks height", lambda data: data[0].pop("height")),
    Fault(FOLDER, "expression 5: empty expression", expression(expression="")),
    Fault(FOLDER, "points at annotation 96, which is in no instance file", expression(ann_ids=[96])),
    Fault(FOLDER, "has 1 boxes but 2 annotation ids", expression(ann_ids=[31, 907])),
    Fault(FOLDER, "says no_target=True but points at 1 objects", expression(no_target=True)),
    Fault(FOLDER, "expression 5: box (4.0, 2.0, 49.0, 6.0) lies outside", expression(boxes=[[4, 2, 49, 6]])),
    Fault(LVIS, "neg_category_ids holds the unknown category 2", change(of="images", neg_category_ids=[2])),
    Fault(LVIS, "category 1 is said to be absent, but is annotated", neg),
    Fault(LVIS, "category 21 is said to be incompletely", change(of="images", **PARTLY), "warning"),
    Fault(LVIS, "images[0]: lacks file_name", change(of="images", without="coco_url")),
]


@pytest.mark.parametrize("name", [*JSON, VOC, ADE])
def test_good_data_is_good(tmp_path, name):
    grow(tmp_path, name)
    report = check(tmp_path, name)
    assert findings(report) == [] and report.counts["pictures"] > 0


@pytest.mark.parametrize("fault", JSON_FAULTS, ids=lambda fault: fault.id)
def test_faults_in_json(tmp_path, fault):
    grow(tmp_path, fault.name)
    path = tmp_path / JSON[fault.name]
    data = json.loads(path.read_text())
    fault.plant(data)
    path.write_text(json.dumps(data))
    expect_only(fault, check(tmp_path, fault.name))


def expect_only(fault: Fault, report) -> None:
    found = findings(report)
    assert len(found) == 1, "\n".join(found)
    assert found[0].startswith(fault.severity) and re.search(re.escape(fault.expected), found[0]), found[0]


COCO_MAP, COCO_PICTURE = "coco/panoptic_val2017/000000000285.png", "coco/val2017/000000000285.jpg"
VOC_MAP = "VOCdevkit/VOC2012/SegmentationClass/2007_000033.png"
VOC_PICTURE = "VOCdevkit/VOC2012/JPEGImages/2007_000033.jpg"
ADE_FOLDER = "ADEChallengeData2016/annotations/validation"


def class_map(place: str, value: int, size: tuple[int, int] = trees.SIZE) -> Callable:
    """Writes a map of one value."""
    return lambda root: trees.labels(root / place, np.full(size, value, np.uint8))


def colours(root: Path) -> None:
    Image.open(root / VOC_MAP).convert("RGB").save(root / VOC_MAP)


def turned_map(root: Path) -> None:
    write_panoptic(np.ones((20, 10), int), root / COCO_MAP)


def gone(place: str) -> Callable:
    return lambda root: (root / place).unlink()


def stranger_in_map(root: Path) -> None:
    ids = read_panoptic(root / COCO_MAP)
    ids[9] = 77
    write_panoptic(ids, root / COCO_MAP)


def lines(text: str) -> Callable:
    return lambda root: (root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").write_text(text)


def cut(place: str) -> Callable:
    return lambda root: (root / place).write_bytes((root / place).read_bytes()[:60])


FILE_FAULTS = [
    Fault(INSTANCES, "is not valid JSON", cut(JSON[INSTANCES])),
    Fault(INSTANCES, "missing in", gone(JSON[INSTANCES])),
    Fault(INSTANCES, "it is not an image file", lambda root: (root / COCO_PICTURE).write_text("no picture")),
    Fault(INSTANCES, "cannot read image", lambda root: (root / COCO_PICTURE).write_bytes(b"")),
    Fault(PANOPTIC, "missing in", lambda root: (root / "coco/panoptic_val2017").rename(root / "elsewhere")),
    Fault(PANOPTIC, "cannot read image", cut(COCO_MAP)),
    Fault(PANOPTIC, "segment 77: 20 pixels carry an id that is not listed", stranger_in_map),
    Fault(PANOPTIC, "has size (20, 10), expected (10, 20)", turned_map),
    Fault(VOC, "image 2007_000033: is listed 2 times", lines("2007_000033\n2007_000033\n")),
    Fault(VOC, "label map not found", gone(VOC_MAP)),
    Fault(VOC, "cannot read label map", cut(VOC_MAP)),
    Fault(VOC, "its pixels are colours (RGB)", colours),
    Fault(VOC, "holds [21], which are neither", class_map(VOC_MAP, 21)),
    Fault(VOC, "is void everywhere", class_map(VOC_MAP, 255), "warning"),
    Fault(VOC, "has size (5, 20), its picture (10, 20)", class_map(VOC_MAP, 1, (5, 20))),
    Fault(VOC, "image file not found", gone(VOC_PICTURE)),
    Fault(ADE, "1 maps have no picture: x.png", class_map(f"{ADE_FOLDER}/x.png", 1), "warning"),
]


@pytest.mark.parametrize("fault", FILE_FAULTS, ids=lambda fault: fault.id)
def test_faults_in_files(tmp_path, fault):
    grow(tmp_path, fault.name)
    fault.plant(tmp_path)
    expect_only(fault, check(tmp_path, fault.name))


def test_there_are_many_kinds():
    assert len({fault.id for fault in [*JSON_FAULTS, *FILE_FAULTS]}) >= 70


@pytest.mark.parametrize(
    "broken", [None, 3, "text", [], {"images": 5}, {"images": [1], "annotations": [2], "categories": [3]}], ids=str
)
def test_nonsense_is_reported_not_raised(tmp_path, broken):
    for name in (INSTANCES, PANOPTIC, CAPTIONS, LVIS):
        grow(tmp_path / name, name)
        (tmp_path / name / JSON[name]).write_text(json.dumps(broken))
        assert not check(tmp_path / name, name).ok
