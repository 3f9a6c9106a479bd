"""COCO-format folders: the real pictures of coco_mini, and folders written by the tests."""

import json

import numpy as np
import pytest

from mvplm.data.catalog import get_dataset
from mvplm.data.datasets.coco import load_coco_folder
from mvplm.data.datasets.coco_files import clean_category_names, find_coco_files
from mvplm.data.datasets.coco_referring import referred_objects
from mvplm.data.images import load_image
from mvplm.data.panoptic_png import write_panoptic
from mvplm.structures.masks import decode_mask, mask_area


def test_panoptic_areas_are_exact(shared_data):
    records = get_dataset("coco_mini/val", root=shared_data)
    assert len(records) == 50
    file = json.loads((shared_data / "coco_mini" / "annotations" / "panoptic_val.json").read_text())
    segments = {entry["image_id"]: entry["segments_info"] for entry in file["annotations"]}
    seen = 0
    for record in records:
        assert len(record.annotations) == len(segments[record.image_id])
        for annotation, segment in zip(record.annotations, segments[record.image_id], strict=True):
            assert mask_area(annotation.segmentation) == segment["area"]
            x, y, width, height = segment["bbox"]
            assert annotation.box == (x, y, x + width, y + height)
            assert record.vocabulary.dataset_ids[annotation.label] == segment["category_id"]
            seen += 1
    assert seen == 363 + 181
    assert load_image(records[0].image).shape == (426, 640, 3) and len(records[0].captions) >= 5


def test_names_are_cleaned_and_stay_unique(shared_data):
    vocabulary = get_dataset("coco_mini/val", root=shared_data).vocabulary
    raw = get_dataset("coco_mini/val", root=shared_data, clean_names=False).vocabulary
    assert len(set(vocabulary.names)) == len(vocabulary) == 133 and sum(vocabulary.isthing) == 80
    assert not any(name.endswith(("-merged", "-other", "-stuff")) for name in vocabulary.names)
    assert dict(zip(raw.names, vocabulary.names, strict=True))["wall-other-merged"] == "wall"


def test_cleaning_avoids_collisions():
    assert clean_category_names(["wall-other", "wall", "door-stuff", "-other"]) == [
        "wall-other",
        "wall",
        "door",
        "-other",
    ]


@pytest.mark.parametrize(
    ("name", "role", "count"),
    [
        ("train", "panoptic", 100),
        ("train", "instance", 413),
        ("train", "caption", 217),
        ("val", "instance", 50),
        ("refs", None, 99),
    ],
)
def test_sizes_of_coco_mini(shared_data, name, role, count):
    assert len(get_dataset(f"coco_mini/{name}", root=shared_data, role=role)) == count


def test_instances_of_training_pictures(shared_data):
    masks = get_dataset("coco_mini/train", root=shared_data, role="instance")
    boxes = get_dataset("coco_mini/train", root=shared_data, role="detection")
    assert sum(len(record.annotations) for record in masks) == 3426
    assert sum(a.iscrowd for record in masks for a in record.annotations) == 34
    assert sum(not record.annotations for record in masks) == 4
    record = masks[0]
    assert decode_mask(record.annotations[0].segmentation, record.size).shape == record.size
    assert boxes[0].annotations[0].segmentation is None and boxes[0].annotations[0].box == record.annotations[0].box
    assert len(record.vocabulary) == 80


def test_referring_expressions(shared_data):
    records = list(get_dataset("coco_mini/refs", root=shared_data))
    expressions = [(record, expression) for record in records for expression in record.expressions]
    assert len(expressions) == 112
    assert sum(not expression.targets for _, expression in expressions) == 7
    masked = [
        (record, expression)
        for record, expression in expressions
        if expression.targets and record.annotations[expression.targets[0]].segmentation is not None
    ]
    assert len(masked) == 18
    for record, expression in masked:
        target = record.annotations[expression.targets[0]]
        assert decode_mask(target.segmentation, record.size).any()
    assert all(record.image.is_file() for record in records)
    only = get_dataset("coco_mini/refs", root=shared_data, masks_only=True)
    assert sum(len(record.expressions) for record in only) == 18 + 7


def test_referred_objects_in_every_spelling():
    box = [1, 2, 3, 4]
    assert referred_objects({"boxes": [], "no_target": True}) == []
    assert referred_objects({"boxes": [box], "ann_id": None})[0].annotation_id is None
    assert referred_objects({"boxes": [box], "ann_id": 7})[0].annotation_id == 7
    both = referred_objects({"boxes": [box, box], "ann_ids": [7, None], "no_target": False})
    assert [item.annotation_id for item in both] == [7, None] and both[1].box == (1, 2, 3, 4)
    assert referred_objects({"ann_ids": [5]})[0].box is None
    with pytest.raises(ValueError, match="2 boxes but 1"):
        referred_objects({"boxes": [box, box], "ann_ids": [7]})
    with pytest.raises(ValueError, match="no_target=True"):
        referred_objects({"boxes": [box], "no_target": True})


@pytest.fixture
def folder(tmp_path):
    """One 4 x 6 picture with a thing (id 3) and stuff (id 300), at the usual places of split "a"."""
    ids = np.full((4, 6), 300)
    ids[1:3, 2:5] = 3
    for path in ("annotations", "images/a", "panoptic_a"):
        (tmp_path / path).mkdir(parents=True)
    write_panoptic(ids, tmp_path / "panoptic_a" / "p.png")
    write_panoptic(ids, tmp_path / "images" / "a" / "p.png")
    images = [{"id": 1, "file_name": "p.png", "height": 4, "width": 6}]
    categories = [{"id": 9, "name": "dog", "isthing": 1}, {"id": 4, "name": "wall-other", "isthing": 0}]
    segments = [{"id": 3, "category_id": 9}, {"id": 300, "category_id": 4, "iscrowd": 1}, {"id": 5, "category_id": 9}]
    maps = [{"image_id": 1, "file_name": "p.png", "segments_info": segments}]
    dog = {"id": 70, "image_id": 1, "category_id": 9, "bbox": [2, 1, 3, 2], "phrase": "a dog"}
    refs = [{"ref_id": 1, "image": "images/a/p.png", "image_id": 1, "height": 4, "width": 6, "expression": "it"}]
    refs[0].update(ann_ids=[70], kind="attribute")
    contents = {
        "annotations/panoptic_a.json": {"images": images, "annotations": maps, "categories": categories},
        "annotations/instances_a.json": {"images": images, "annotations": [dog], "categories": categories},
        "annotations/captions_a.json": {"images": images, "annotations": [{"image_id": 1, "caption": " A \n dog. "}]},
        "refs_a.json": refs,
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_every_role_of_a_folder(folder):
    panoptic = load_coco_folder(folder, split="a")[0]
    assert [a.box for a in panoptic.annotations] == [(2, 1, 5, 3), (0, 0, 6, 4)]
    assert [(a.label, a.isthing, a.iscrowd) for a in panoptic.annotations] == [(0, True, False), (1, False, True)]
    assert panoptic.vocabulary.names == ("dog", "wall") and panoptic.captions == ("A dog.",)
    detection = load_coco_folder(folder, split="a", role="detection")[0]
    assert detection.annotations[0].box == (2, 1, 5, 3) and detection.annotations[0].id == 70
    grounding = load_coco_folder(folder, split="a", role="grounding")[0]
    assert grounding.vocabulary is None and grounding.annotations[0].phrase == "a dog"
    referring = load_coco_folder(folder, split="a", role="referring")[0]
    assert referring.expressions[0].kind == "attribute" and referring.annotations[0].box == (2, 1, 5, 3)
    caption = load_coco_folder(folder, split="a", role="caption")[0]
    assert caption.captions == ("A dog.",) and not caption.annotations


def test_records_from_either_end_and_in_slices(folder):
    records = load_coco_folder(folder, split="a", role="instance")
    assert records[-1].image_id == 1 and [record.image_id for record in records[:5]] == [1]
    with pytest.raises(IndexError, match="record 1 of 1"):
        records[1]


def test_num_takes_the_first_records_in_the_order_of_the_file(shared_data):
    first = get_dataset("coco_mini/train", root=shared_data, role="panoptic", num=16)
    every = get_dataset("coco_mini/train", root=shared_data, role="panoptic")
    file = json.loads((shared_data / "coco_mini" / "annotations" / "panoptic_train.json").read_text())
    assert len(first) == 16 and len(every) == 100 and first.vocabulary == every.vocabulary
    assert [first[i].image_id for i in (0, -1)] == [file["annotations"][i]["image_id"] for i in (0, 15)]
    with pytest.raises(IndexError, match="record 16 of 16"):
        first[16]


def test_num_of_a_folder(folder):
    for role in ("instance", "referring", "caption"):
        assert len(load_coco_folder(folder, split="a", role=role, num=5)) == 1
    assert load_coco_folder(folder, split="a", role="caption", num=1).vocabulary is None
    with pytest.raises(ValueError, match="num must be at least 1, got 0"):
        load_coco_folder(folder, split="a", num=0)


def test_paths_may_be_given(folder):
    files = find_coco_files(folder, images="images/a", instances=["annotations/instances_a.json"])
    assert files.panoptic is None and files.images == folder / "images" / "a" and len(files.instances) == 1
    with pytest.raises(ValueError, match="did you mean 'panoptic'"):
        find_coco_files(folder, panoptik="x")
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        find_coco_files(folder, captions="nothing.json")


def test_messages_lead_to_the_split(folder):
    with pytest.raises(ValueError, match="no annotation file given or found .splits seen: a."):
        load_coco_folder(folder)
    with pytest.raises(ValueError, match="no panoptic file"):
        load_coco_folder(folder, role="panoptic")
    with pytest.raises(ValueError, match="unknown role 'boxes' .choices: panoptic, "):
        load_coco_folder(folder, split="a", role="boxes")


def test_broken_json_is_named(folder):
    path = folder / "annotations" / "panoptic_a.json"
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match="panoptic_a.json is not valid JSON"):
        load_coco_folder(folder, split="a")
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match="panoptic_a.json is not a COCO file: it needs a list under 'annotations'"):
        load_coco_folder(folder, split="a")


def test_written_scenes_read_back_the_same(tmp_path):
    from mvplm.data.scenes import SceneDataset, write_coco

    write_coco(tmp_path, num=2, seed=3)
    drawn = SceneDataset("val", num=2, seed=3, role="panoptic")[1]
    read = load_coco_folder(tmp_path, split="val")[1]
    assert (load_image(read.image) == drawn.image).all() and read.captions == drawn.captions
    assert [(a.box, a.isthing) for a in read.annotations] == [(a.box, a.isthing) for a in drawn.annotations]
    for one, other in zip(read.annotations, drawn.annotations, strict=True):
        assert (decode_mask(one.segmentation) == decode_mask(other.segmentation)).all()
    spoken = SceneDataset("val", num=2, seed=3, role="referring")[1]
    heard = load_coco_folder(tmp_path, split="val", role="referring")[1]
    assert [e.text for e in heard.expressions] == [e.text for e in spoken.expressions]
    for one, other in zip(heard.expressions, spoken.expressions, strict=True):
        assert one.kind == other.kind
        assert [heard.annotations[i].box for i in one.targets] == [spoken.annotations[i].box for i in other.targets]
