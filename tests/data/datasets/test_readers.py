"""Readers of the public sets: small trees in the exact format give exactly these records."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from oracles import dataset_trees as trees

from mvplm.data.catalog import dataset_entry, get_dataset
from mvplm.data.check import check_dataset
from mvplm.data.datasets.category_tables import category_table, list_category_tables, table_vocabulary
from mvplm.structures import Annotation
from mvplm.structures.masks import decode_mask, encode_mask

ROOT = Path(__file__).resolve().parents[3]
COCO = [dict(row) for row in category_table("coco_panoptic_133")]


def prepare(name: str, root: Path, *arguments: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "datasets" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--root", str(root), "--split", "val", "--workers", "1", *arguments])


def told(record) -> list[tuple]:
    """Name, thing, crowd, id and box of every annotation."""
    names = record.vocabulary.names
    return [(names[a.label], a.isthing, a.iscrowd, a.id, a.box) for a in record.annotations]


def same_mask(annotation: Annotation, mask: np.ndarray) -> bool:
    return np.array_equal(decode_mask(annotation.segmentation, mask.shape), mask)


@pytest.mark.parametrize(
    ("table", "size", "things", "first", "last"),
    [
        ("coco_panoptic_133", 133, 80, (1, "person"), (200, "rug-merged")),
        ("ade20k_150", 150, 100, (0, "wall"), (149, "flag")),
        ("cityscapes_19", 19, 8, (7, "road"), (33, "bicycle")),
        ("pascal_context_59", 59, 59, (0, "aeroplane"), (58, "wood")),
        ("pascal_voc_20", 20, 20, (1, "aeroplane"), (20, "tvmonitor")),
    ],
)
def test_category_tables(table, size, things, first, last):
    rows = category_table(table)
    assert len(rows) == size and sum(row["isthing"] for row in rows) == things
    assert [(row["id"], row["name"]) for row in (rows[0], rows[-1])] == [first, last]
    assert len({row["id"] for row in rows}) == len({row["name"] for row in rows}) == size
    colors = [tuple(row["color"]) for row in rows if "color" in row]
    assert len(colors) in (0, size) and all(len(color) == 3 and 0 <= min(color) <= max(color) < 256 for color in colors)


def test_unknown_table_lists_the_choices():
    with pytest.raises(ValueError, match="did you mean 'cityscapes_19'"):
        table_vocabulary("cityscape_19")
    assert len(list_category_tables()) == 5


def test_the_table_of_coco_is_that_of_the_official_files(shared_data):
    file = json.loads((shared_data / "coco_mini" / "annotations" / "panoptic_val.json").read_text())
    assert [{key: c[key] for key in ("id", "name", "isthing", "color")} for c in file["categories"]] == COCO
    instances = json.loads((shared_data / "coco_mini" / "annotations" / "instances_val.json").read_text())
    assert [c["id"] for c in instances["categories"]] == [row["id"] for row in COCO if row["isthing"]]


def test_coco_instances(tmp_path):
    trees.coco_tree(tmp_path, COCO)
    records = get_dataset("coco_2017_val", root=tmp_path)
    assert len(records) == 2 and len(records.vocabulary) == 80
    first, second = records
    assert (first.image_id, first.size, first.source, first.exhaustive) == (139, (10, 20), "coco_val2017", True)
    assert first.image == tmp_path / "coco" / "val2017" / "000000000139.jpg"
    assert told(first) == [
        ("chair", True, False, 907, (12, 1, 18, 5)),
        ("dog", True, False, 31, (4, 2, 9, 6)),
        ("person", True, True, 900100000139, (10, 6, 18, 9)),
    ]
    polygon, code, crowd = first.annotations
    assert polygon.segmentation == trees.POLYGON and code.segmentation == encode_mask(trees.DOG)
    assert crowd.segmentation == trees.runs(trees.PEOPLE) and same_mask(crowd, trees.PEOPLE)
    assert first.captions == ("A dog in front of a wall.", "People and a dog.")
    assert second.annotations == () and second.captions == ()
    boxes = get_dataset("coco_2017_val", root=tmp_path, role="detection", num=1)
    assert len(boxes) == 1 and all(a.segmentation is None for a in boxes[0].annotations)


@pytest.mark.parametrize("name", ["coco_2017_val_panoptic", "coco_2017_val_panoptic_with_sem_seg"])
def test_coco_panoptic(tmp_path, name):
    trees.coco_tree(tmp_path, COCO)
    records = get_dataset(name, root=tmp_path)
    assert [record.image_id for record in records] == [139, 285]
    record = records[1]
    assert told(record) == [
        ("wall", False, False, 3226956, (0, 0, 20, 9)),
        ("dog", True, False, 260, (4, 2, 9, 6)),
        ("person", True, True, 196615, (10, 6, 18, 9)),
    ]
    assert same_mask(record.annotations[1], trees.DOG) and same_mask(record.annotations[2], trees.PEOPLE)
    raw = get_dataset(name, root=tmp_path, clean_names=False)
    assert raw[0].vocabulary.names[record.annotations[0].label] == "wall-other-merged"


def test_coco_captions_and_maps_beside_the_json(tmp_path):
    folder = trees.coco_tree(tmp_path, COCO)
    records = get_dataset("coco_2017_val_captions", root=tmp_path)
    assert len(records) == 1 and records[0].captions == ("A dog in front of a wall.", "People and a dog.")
    (folder / "panoptic_val2017").rename(folder / "annotations" / "panoptic_val2017")
    assert len(get_dataset("coco_2017_val_panoptic", root=tmp_path)[0].annotations) == 3


def test_missing_file_is_named(tmp_path):
    trees.coco_tree(tmp_path, COCO)
    with pytest.raises(FileNotFoundError, match="instances_train2017.json.*MVPLM_DATASETS"):
        get_dataset("coco_2017_train", root=tmp_path)
    assert dataset_entry("coco_2017_train").missing(tmp_path) == [
        "coco/train2017",
        "coco/annotations/instances_train2017.json",
    ]
    assert dataset_entry("coco_2017_val_panoptic").missing(tmp_path) == []


ADE_SEGMENTS = [
    ("wall", False, False, (0, 0, 20, 9)),
    ("person", True, False, (4, 2, 6, 6)),
    ("person", True, False, (6, 2, 9, 6)),
    ("window", True, False, (10, 6, 18, 9)),
]


def test_ade20k_panoptic_from_the_release(tmp_path):
    folder = trees.ade_release(tmp_path)
    prepare("prepare_ade20k", tmp_path)
    (record,) = get_dataset("ade20k_panoptic_val", root=tmp_path)
    assert (record.image_id, record.size, len(record.vocabulary)) == (trees.ADE_NAME, (10, 20), 150)
    assert [(name, thing, crowd, box) for name, thing, crowd, _, box in told(record)] == ADE_SEGMENTS
    assert record.vocabulary.names[6] == "road, route"
    data = json.loads((folder / "ade20k_panoptic_val.json").read_text())
    assert data["images"] == [{"id": trees.ADE_NAME, "file_name": f"{trees.ADE_NAME}.jpg", "width": 20, "height": 10}]
    entry = data["annotations"][0]
    assert (entry["image_id"], entry["file_name"]) == (trees.ADE_NAME, f"{trees.ADE_NAME}.png")
    assert [(s["category_id"], s["area"], s["bbox"]) for s in entry["segments_info"]] == [
        (0, 136, [0, 0, 20, 9]),
        (12, 8, [4, 2, 2, 4]),
        (12, 12, [6, 2, 3, 4]),
        (8, 24, [10, 6, 8, 3]),
    ]
    assert entry["segments_info"][0]["id"] == 120 + 256 * 120 + 65536 * 120


def test_ade20k_instances_from_the_release(tmp_path):
    trees.ade_release(tmp_path)
    prepare("prepare_ade20k", tmp_path)
    (record,) = get_dataset("ade20k_instance_val", root=tmp_path)
    assert len(record.vocabulary) == 100 and record.vocabulary.dataset_ids[:3] == (7, 8, 10)
    assert told(record) == [
        ("person", True, False, 1, (4, 2, 6, 6)),
        ("person", True, False, 2, (6, 2, 9, 6)),
        ("window", True, False, 3, (10, 6, 18, 9)),
    ]
    assert same_mask(record.annotations[2], trees.PEOPLE)
    assert all(check_dataset(f"ade20k_{part}_val", root=tmp_path).ok for part in ("instance", "panoptic", "sem_seg"))


def test_ade20k_as_mask2former_prepares_it(tmp_path):
    """Areas counted before things were painted, and a blank after a name."""
    folder = trees.ade_release(tmp_path)
    prepare("prepare_ade20k", tmp_path)
    path = folder / "ade20k_panoptic_val.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["segments_info"][0].update(area=180, bbox=[0, 0, 20, 9])
    data["categories"][8]["name"] = "window "
    path.write_text(json.dumps(data))
    (record,) = get_dataset("ade20k_panoptic_val", root=tmp_path)
    assert [(name, thing, crowd, box) for name, thing, crowd, _, box in told(record)] == ADE_SEGMENTS


def test_ade20k_class_maps_as_released_and_as_prepared(tmp_path):
    folder = trees.ade_release(tmp_path)
    (released,) = get_dataset("ade20k_sem_seg_val", root=tmp_path)
    assert told(released) == [
        ("wall", False, False, 1, (0, 0, 20, 9)),
        ("window", True, False, 9, (10, 6, 18, 9)),
        ("person", True, False, 13, (4, 2, 9, 6)),
    ]
    shifted = np.full(trees.SIZE, 0, np.uint8)
    shifted[trees.DOG], shifted[trees.PEOPLE], shifted[9] = 12, 8, 255
    trees.labels(folder / "annotations_detectron2" / "validation" / f"{trees.ADE_NAME}.png", shifted)
    (prepared,) = get_dataset("ade20k_sem_seg_val", root=tmp_path)
    assert [a.segmentation for a in prepared.annotations] == [a.segmentation for a in released.annotations]
    assert [a.label for a in prepared.annotations] == [a.label for a in released.annotations] == [0, 8, 12]


def test_cityscapes_panoptic(tmp_path):
    folder = trees.cityscapes_release(tmp_path)
    prepare("prepare_cityscapes_panoptic", tmp_path)
    (record,) = get_dataset("cityscapes_fine_panoptic_val", root=tmp_path)
    assert record.image_id == trees.CITY_ID and record.image.is_file()
    assert told(record) == [
        ("road", False, False, 7, (0, 1, 20, 9)),
        ("sky", False, False, 23, (0, 0, 20, 1)),
        ("person", True, True, 24, (10, 6, 18, 9)),
        ("car", True, False, 26000, (4, 2, 6, 6)),
        ("car", True, False, 26001, (6, 2, 9, 6)),
    ]
    data = json.loads((folder / "gtFine" / "cityscapes_panoptic_val.json").read_text())
    assert data["images"][0]["file_name"] == f"{trees.CITY_ID}_gtFine_leftImg8bit.png"
    assert data["annotations"][0]["file_name"] == f"{trees.CITY_ID}_gtFine_panoptic.png"
    assert [s["area"] for s in data["annotations"][0]["segments_info"]] == [116, 20, 24, 8, 12]


def test_cityscapes_class_maps(tmp_path):
    trees.cityscapes_release(tmp_path)
    (record,) = get_dataset("cityscapes_fine_sem_seg_val", root=tmp_path)
    assert record.image_id == trees.CITY_ID
    assert [(name, id_) for name, _, _, id_, _ in told(record)] == [
        ("road", 7),
        ("sky", 23),
        ("person", 24),
        ("car", 26),
    ]
    assert same_mask(record.annotations[3], trees.DOG)


def test_pascal_voc(tmp_path):
    trees.voc_tree(tmp_path)
    (record,) = get_dataset("openvocab_pascal20_sem_seg_val", root=tmp_path)
    assert record.image_id == "2007_000033" and record.image.is_file()
    assert told(record) == [("dog", True, False, 12, (4, 2, 9, 5)), ("tv monitor", True, False, 20, (10, 6, 18, 9))]
    official = get_dataset("openvocab_pascal20_sem_seg_val", root=tmp_path, clean_names=False)
    assert official.vocabulary.names[-1] == "tvmonitor"


def context_names() -> dict[int, str]:
    """Stand-ins for the list of 459 names, with the 59 at their places."""
    names = {number: f"class {number}" for number in range(1, 460)}
    return {**names, **{row["full_id"]: row["name"] for row in category_table("pascal_context_59")}}


def test_pascal_context(tmp_path):
    trees.context_release(tmp_path, context_names())
    prepare("prepare_pascal_context", tmp_path)
    (record,) = get_dataset("openvocab_pascal_ctx59_sem_seg_val", root=tmp_path)
    assert record.image_id == "2008_000002" and len(record.vocabulary) == 59 and record.image.is_file()
    assert told(record) == [("dog", True, False, 22, (4, 2, 9, 6)), ("wall", True, False, 55, (0, 1, 20, 9))]
    (full,) = get_dataset("openvocab_pascal_ctx459_sem_seg_val", root=tmp_path)
    assert len(full.vocabulary) == 459
    assert told(full) == [
        ("class 1", True, False, 0, (10, 6, 18, 9)),
        ("dog", True, False, 112, (4, 2, 9, 6)),
        ("class 431", True, False, 430, (0, 0, 20, 1)),
        ("wall", True, False, 439, (0, 1, 20, 9)),
    ]


def test_another_list_of_names_is_refused(tmp_path):
    trees.context_release(tmp_path, {**context_names(), 113: "cat"})
    with pytest.raises(ValueError, match="labels.txt is not PASCAL Context's list.*: dog stand"):
        prepare("prepare_pascal_context", tmp_path)


def test_lvis(tmp_path):
    trees.lvis_tree(tmp_path)
    records = get_dataset("lvis_v1_val", root=tmp_path)
    (record,) = records
    assert record.image == tmp_path / "coco" / "train2017" / "000000391895.jpg" and record.image.is_file()
    assert record.vocabulary.names == ("aerosol can", "alcohol", "bow (weapon)", "apple", "tag")
    assert not record.exhaustive and record.absent == (1, 3)
    assert told(record) == [
        ("bow (weapon)", True, False, 501, (12, 1, 18, 5)),
        ("aerosol can", True, False, 77, (1, 1, 4, 3)),
        ("bow (weapon)", True, True, None, (0, 0, 20, 10)),
    ]
    assert decode_mask(record.annotations[2].segmentation).all()
    assert records.name_groups == {
        "lvis": record.vocabulary.names,
        "lvis_common": ("aerosol can",),
        "lvis_frequent": ("alcohol", "apple", "tag"),
        "lvis_rare": ("bow (weapon)",),
    }
    boxes = get_dataset("lvis_v1_val", root=tmp_path, role="detection", num=1, clean_names=False)
    assert all(a.segmentation is None for a in boxes[0].annotations) and boxes.name_groups["lvis_rare"]
    assert boxes[0].vocabulary.names[2] == "bow_(weapon)"


def test_odinw(tmp_path):
    trees.odinw_tree(tmp_path)
    (record,) = get_dataset("odinw_folder", root=tmp_path)
    assert record.vocabulary.names == ("fish", "shark") and record.vocabulary.dataset_ids == (1, 4)
    assert told(record) == [("shark", True, False, 0, (4, 2, 9, 6))] and record.annotations[0].segmentation is None
    with pytest.raises(FileNotFoundError, match="_annotations.coco.json"):
        get_dataset("odinw_folder", root=tmp_path, split="test")


def test_real_photos_in_the_official_tree(shared_data, tmp_path):
    """coco_mini's validation photos at the places of COCO 2017 are the same records, and nothing is wrong with them."""
    mini = shared_data / "coco_mini"
    if not mini.is_dir():
        pytest.skip(f"no real photos: {mini} is absent")
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "val2017").symlink_to(mini / "images" / "val")
    (tmp_path / "coco" / "panoptic_val2017").symlink_to(mini / "panoptic_val")
    for part in ("panoptic", "instances", "captions"):
        place = tmp_path / "coco" / "annotations" / f"{part}_val2017.json"
        place.symlink_to(mini / "annotations" / f"{part}_val.json")
    for name, role in (("coco_2017_val_panoptic", "panoptic"), ("coco_2017_val", "instance")):
        records = get_dataset(name, root=tmp_path, num=3)
        expected = get_dataset("coco_mini/val", root=shared_data, role=role, num=3)
        for record, other in zip(records, expected, strict=True):
            assert record.annotations == other.annotations and record.captions == other.captions
    report = check_dataset("coco_2017_val_captions", root=tmp_path, decode=False)
    assert report.ok and report.counts["pictures"] == 50
