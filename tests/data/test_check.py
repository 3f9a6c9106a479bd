"""The checker finds every planted problem in one go, and nothing in good data."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mvplm.data.check import check_dataset, check_records
from mvplm.data.panoptic_png import write_panoptic
from mvplm.structures import Annotation
from mvplm.structures.masks import encode_mask

IMAGES = [{"id": i, "file_name": f"{i}.png", "height": 10, "width": 20} for i in (1, 2)]
CATEGORIES = [{"id": 1, "name": "dog", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}]


def thing(**changes):
    mask = np.zeros((10, 20), bool)
    mask[2:6, 4:9] = True
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 2, 5, 4], "area": 20, "iscrowd": 0}
    return {**entry, "segmentation": encode_mask(mask), **changes}


def expression(**changes):
    entry = {"ref_id": 1, "image": "images/a/1.png", "image_id": 1, "height": 10, "width": 20, "expression": "the dog"}
    return {**entry, "boxes": [[4, 2, 9, 6]], "ann_ids": [1], "no_target": False, **changes}


class Folder:
    """A COCO folder with split "a" whose JSON a test may change before it is checked."""

    def __init__(self, root):
        self.root = root
        for path in ("annotations", "images/a", "panoptic_a"):
            (root / path).mkdir(parents=True)
        ids = np.full((10, 20), 7)
        ids[2:6, 4:9] = 300
        for number in (1, 2):
            Image.new("RGB", (20, 10), "red").save(root / "images" / "a" / f"{number}.png")
            write_panoptic(ids, root / "panoptic_a" / f"{number}.png")
        segments = [{"id": 7, "category_id": 2, "area": 180}, {"id": 300, "category_id": 1, "area": 20}]
        maps = [{"image_id": i, "file_name": f"{i}.png", "segments_info": copy.deepcopy(segments)} for i in (1, 2)]
        self.instances = self._coco([thing()], categories=CATEGORIES)
        self.panoptic = self._coco(maps, categories=CATEGORIES)
        self.captions = self._coco([{"id": 1, "image_id": 1, "caption": "A dog."}])
        self.referring = [expression()]

    @staticmethod
    def _coco(annotations, **more):
        return copy.deepcopy({"images": IMAGES, "annotations": annotations, **more})

    def check(self, **options):
        for name in ("instances", "panoptic", "captions"):
            (self.root / "annotations" / f"{name}_a.json").write_text(json.dumps(getattr(self, name)))
        (self.root / "refs_a.json").write_text(json.dumps(self.referring))
        return check_dataset("coco_folder", root=self.root, split="a", **options)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def messages(report, severity="error"):
    return [f"{problem.where}: {problem.message}" for problem in report.of(severity)]


def test_good_folder(folder):
    report = folder.check()
    assert report.ok and not messages(report) and not messages(report, "warning")
    assert report.counts["instances"] == 1 and report.counts["segments"] == 4 and report.counts["pictures"] == 2
    assert "0 errors" in report.summary() and "2 panoptic maps" in report.summary()


def test_all_problems_at_once(folder):
    folder.instances["annotations"] += [thing(id=1), thing(id=3, image_id=99), thing(id=4, category_id=99)]
    folder.captions["annotations"].append({"id": 2, "image_id": 98, "caption": " "})
    folder.panoptic["annotations"][0]["segments_info"][0]["category_id"] = 97
    folder.referring.append(expression(ref_id=1, ann_ids=[96], expression=""))
    (folder.root / "images" / "a" / "2.png").write_bytes(b"")
    (folder.root / "panoptic_a" / "2.png").unlink()
    found = "\n".join(messages(folder.check()))
    for expected in (
        "instances_a.json annotation 1: duplicated annotation id",
        "annotation 3: points at image 99",
        "annotation 4: unknown category 99",
        "caption 2: points at image 98",
        "caption 2: empty caption",
        "1.png, segment 7: unknown category 97",
        "expression 1: duplicated ref_id",
        "expression 1: points at annotation 96",
        "expression 1: empty expression",
        "2.png: it is not an image file",
        "panoptic_a/2.png",
    ):
        assert expected in found, expected
    assert len(found.splitlines()) == 11


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"bbox": [4, 2, 0, 4], "segmentation": None}, "has no area"),
        ({"bbox": [15, 2, 8, 4], "segmentation": None}, "lies outside the image of 10 x 20"),
        ({"bbox": [4, 2, 5]}, "bbox must be"),
        ({"segmentation": encode_mask(np.zeros((10, 20), bool))}, "empty mask"),
        ({"segmentation": encode_mask(np.ones((20, 10), bool))}, "mask cannot be decoded.*RLE size"),
        ({"segmentation": [[1, 2, 3, 4]]}, "mask cannot be decoded.*at least 6"),
    ],
)
def test_errors_of_an_instance(folder, changes, expected):
    folder.instances["annotations"] = [thing(**changes)]
    report = folder.check()
    assert len(messages(report)) == 1
    with pytest.raises(ValueError, match=expected):
        raise ValueError(messages(report)[0])


def test_quirks_are_warnings(folder):
    ones = encode_mask(np.ones((10, 20), bool))
    folder.instances["annotations"] = [
        thing(id=1, iscrowd=1, area=999),
        thing(id=2, bbox=[4, 2, 16.5, 4], segmentation=None),
        thing(id=3, segmentation=ones, area=200),
    ]
    folder.panoptic["annotations"][0]["segments_info"][1].update(area=21, iscrowd=1)
    report = folder.check()
    assert report.ok and report.counts["crowd instances"] == 1 and report.counts["instances without mask"] == 1
    found = "\n".join(messages(report, "warning"))
    for expected in ("crowd area 999", "passes the border", "differs from that of its mask", "area 21 differs"):
        assert expected in found


def test_panoptic_ids_must_match_the_list(folder):
    first, second = folder.panoptic["annotations"]
    first["segments_info"] = [
        {"id": 7, "category_id": 2, "area": 179},
        {"id": 7, "category_id": 2, "area": 180},
        {"id": 5, "category_id": 1},
        {"id": 0, "category_id": 1},
    ]
    ids = np.zeros((20, 10), int)
    write_panoptic(ids, folder.root / "panoptic_a" / "2.png")
    found = "\n".join(messages(folder.check()))
    for expected in (
        "segment 7: area 179 differs from the 180 pixels",
        "segment 7: duplicated segment id",
        "segment 5: empty mask",
        "segment 0: id 0 is kept for void",
        "segment 300: 20 pixels carry an id that is not listed",
        "has size (20, 10), expected (10, 20)",
    ):
        assert expected in found, expected


def test_void_is_reported(folder):
    ids = np.full((10, 20), 7)
    ids[2:6, 4:9] = 300
    ids[9] = 0
    write_panoptic(ids, folder.root / "panoptic_a" / "1.png")
    assert any("5.0 % of the pixels" in message for message in messages(folder.check(), "info"))


def test_lists_of_images_and_categories(folder):
    folder.instances["images"] += [IMAGES[0], {"id": 5}, {**IMAGES[1], "id": 6}]
    folder.instances["categories"] += [CATEGORIES[0], {"id": 8, "name": "dog"}, {"id": 9, "name": ""}]
    report = folder.check()
    found = "\n".join(messages(report))
    for expected in (
        "duplicated image id 1",
        "images[3]: lacks file_name, height, width",
        "duplicated category id 1",
        "duplicated category name 'dog'",
        "categories[4]: needs an id and a name",
    ):
        assert expected in found, expected
    assert any("2.png stands for 2 image ids" in message for message in messages(report, "warning"))


def test_sizes_are_compared_without_decoding(folder):
    Image.new("RGB", (10, 20)).save(folder.root / "images" / "a" / "1.png")
    report = folder.check(decode=False)
    assert any("1.png has size (20, 10)" in message for message in messages(report))


def test_missing_files_are_problems_not_crashes(folder):
    folder.instances = {"images": []}
    folder.referring = {"no": "list"}
    found = "\n".join(messages(folder.check()))
    assert "needs a list under 'annotations'" in found and "must hold a list" in found


@pytest.mark.parametrize(("split", "warnings"), [("val", 0), ("refs", 1)])
def test_real_pictures_have_no_errors(shared_data, split, warnings):
    report = check_dataset(f"coco_mini/{split}", root=shared_data, decode=False)
    assert report.ok and len(report.of("warning")) == warnings


def test_records_in_memory(small_record):
    assert check_records([small_record(1), small_record(2)]).ok
    good = small_record(3)
    far, empty = Annotation((70, 0, 90, 9), 0), Annotation((0, 0, 5, 5), 0, encode_mask(np.zeros((60, 80), bool)))
    bad = replace(good, image=np.zeros((4, 4, 3), np.uint8), annotations=(far, empty), expressions=(), captions=(" ",))
    found = "\n".join(messages(check_records([good, bad])))
    for expected in ("duplicated image id", "size (4, 4)", "outside the image", "empty mask", "empty caption"):
        assert expected in found


def test_scenes_are_good():
    report = check_dataset("scenes/val", num=3)
    assert report.ok and report.counts["images"] == 3, report.problems


def test_options_that_choose_records_are_refused(tmp_path):
    with pytest.raises(ValueError, match="takes no option role"):
        check_dataset("coco_mini/val", root=tmp_path, role="instance")
