"""MUSE, RRSIS-D, EarthReason, Pix2Cap and LLaVA's conversations in their published files."""

import numpy as np
import pytest
from PIL import Image

from mvplm.data.catalog import dataset_entry
from mvplm.data.panoptic_png import ids_to_rgb
from mvplm.data.views import pictures
from mvplm.structures import Exchange, Expression
from mvplm.structures.masks import decode_mask

from .conftest import POLYGON, Tree, compressed


def grey(tree: Tree, place: str, values: np.ndarray) -> None:
    path = tree.root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def muse_entry(**changes) -> dict:
    region = {"segmentation": POLYGON, "bbox": [10, 5, 34, 45], "rephrased_name": "the dog"}
    other = {"segmentation": compressed(), "bbox": [70, 2, 10, 4], "rephrased_name": "the kite"}
    entry = {
        "file_name": "val2017/000000000139.jpg",
        "height": 60,
        "width": 80,
        "ann_list": [],
        "questions": ["What  flies\nand what barks?", "What is blue?"],
        "answers": [[region, other], []],
    }
    return {**entry, **changes}


def test_muse(tree: Tree):
    url = "http://images.cocodataset.org/train2017/000000000285.jpg"
    tree.json("muse/MUSE_val.json", [muse_entry(), muse_entry(file_name=None, coco_url=url)])
    tree.picture("coco/val2017/000000000139.jpg")
    tree.picture("coco/train2017/000000000285.jpg")
    first, second = tree.open("muse_val")
    assert first.expressions == (
        Expression("What flies and what barks?", (0, 1), "multiple", 0),
        Expression("What is blue?", (), "none", 1),
    )
    assert first.annotations[1].box == (70, 2, 80, 6)
    assert [annotation.phrase for annotation in first.annotations] == ["the dog", "the kite"]
    assert decode_mask(first.annotations[0].segmentation).sum() > 500
    assert (second.image_id, second.image.parent.name) == (285, "train2017")
    assert pictures(tree.open("muse_val", num=1)) == {"139"}
    for part in ("less", "many"):
        tree.json(f"muse/MUSE_test_{part}.json", [muse_entry()])
    assert len(tree.open("muse_test")) == len(tree.open("muse_test").files.hashes()) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": [[]]}, "2 questions and 1 answers"),
        ({"answers": [[{"segmentation": None}], []]}, "a region of val2017/000000000139.jpg cannot be read"),
        ({"file_name": ""}, "neither file_name nor coco_url"),
    ],
)
def test_muse_files_that_are_wrong(tree: Tree, changes: dict, message: str):
    tree.json("MUSE/muse_train.json", [muse_entry(**changes)])
    tree.picture("coco/val2017/000000000139.jpg")
    with pytest.raises(ValueError, match=message):
        tree.open("muse_train")[0]


def test_rrsis_d(tree: Tree):
    sentences = [
        {"sent_id": 5, "sent": "the ship", "raw": "The  ship on the left", "tokens": []},
        {"sent_id": 6, "sent": "another", "raw": "another", "tokens": []},
    ]
    ref = {"ref_id": 1, "ann_id": 7, "image_id": 3, "category_id": 1, "sent_ids": [5, 6]}
    tree.pickle(
        "refer/rrsisd/refs(unc).p",
        [{**ref, "split": split, "file_name": "00003.jpg", "sentences": sentences} for split in ("train", "test")],
    )
    tree.json(
        "refer/rrsisd/instances.json",
        {
            "images": [{"id": 3, "file_name": "00003.jpg", "height": 60, "width": 80}],
            "annotations": [
                {"id": 7, "image_id": 3, "category_id": 1, "segmentation": [compressed()], "bbox": [70, 2, 80, 6]}
            ],
            "categories": [{"id": 1, "name": "ship"}],
        },
    )
    tree.picture("refer/images/rrsisd/JPEGImages/00003.jpg")
    record = tree.open("rrsis_d_test")[0]
    assert record.expressions == (Expression("The ship on the left", (0,), "", 5),)
    assert record.annotations[0].box == (70, 2, 80, 6)
    assert record.image == tree.root / "refer/images/rrsisd/JPEGImages/00003.jpg"
    assert pictures(tree.open("rrsis_d_train")) == {"rrsisd:3"}


def test_earthreason(tree: Tree):
    label = np.zeros((60, 80), np.uint8)
    label[10:20, 30:50] = 255
    for name, answer in (("b", ["The port."]), ("a", [])):
        tree.picture(f"EarthReason/val/images/{name}.jpg")
        grey(tree, f"EarthReason/val/labels/{name}.png", label)
        tree.json(f"EarthReason/val/QAs/{name}.json", {"questions": ["Where do ships rest?", "Why?"], "answer": answer})
    empty, found = tree.open("earthreason_val")
    assert [expression.targets for expression in empty.expressions] == [(), ()]
    assert (empty.annotations, empty.expressions[0].kind) == ((), "none")
    assert found.expressions[1] == Expression("Why?", (0,), "", 1)
    assert found.annotations[0].box == (30, 10, 50, 20)
    assert decode_mask(found.annotations[0].segmentation).sum() == 200
    grey(tree, "EarthReason/val/labels/b.png", label * 0)
    with pytest.raises(ValueError, match="has an answer, but labels/b.png has no region"):
        tree.open("earthreason_val")[1]
    grey(tree, "EarthReason/val/labels/b.png", label[:30])
    with pytest.raises(ValueError, match="has size"):
        tree.open("earthreason_val")[1]


def test_pix2cap(tree: Tree):
    ids = np.zeros((60, 80), np.int64)
    ids[:10], ids[20:30, :40] = 260, 70000
    grey(tree, "coco/panoptic_val2017/000000000139.png", ids_to_rgb(ids))
    tree.picture("coco/val2017/000000000139.jpg")
    segments = [
        {"id": 260, "category_id": 1, "description": "A grey  sky."},
        {"id": 70000, "category_id": 2, "description": "  "},
    ]
    entry = {"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}
    silent = {"image_id": 140, "file_name": "000000000140.png", "segments_info": segments[1:]}
    tree.json("coco/annotations/pix2cap_coco_val.json", {"annotations": [entry, silent]})
    records = tree.open("pix2cap_val")
    assert len(records) == 1
    assert records[0].expressions == (Expression("A grey sky.", (0,), "", 260),)
    assert records[0].annotations[0].box == (0, 0, 80, 10)
    assert records[0].image == tree.root / "coco/val2017/000000000139.jpg"
    segments[0]["id"] = 9
    tree.json("coco/annotations/pix2cap_coco_val.json", {"annotations": [entry]})
    with pytest.raises(ValueError, match="does not show segment 9"):
        tree.open("pix2cap_val")[0]


def test_llava_conversations(tree: Tree):
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A dog."},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes\nit is."},
    ]
    tree.json(
        "llava_instruct/llava_v1_5_mix665k.json",
        [
            {"id": "1", "image": "coco/train2017/000000000009.jpg", "conversations": turns},
            {"id": "2", "conversations": turns},
            {"id": "3", "image": "gqa/images/7.jpg", "conversations": turns[:1]},
        ],
    )
    tree.picture("coco/train2017/000000000009.jpg", (30, 50))
    tree.picture("llava_instruct/gqa/images/7.jpg")
    records = tree.open("llava_v1_5_665k")
    assert (len(records), records[0].size) == (2, (30, 50))
    assert records[0].exchanges == (Exchange("What is it?", "A dog."), Exchange("Sure?", "Yes\nit is."))
    assert pictures(tree.open("llava_v1_5_665k", num=1)) == {"9"}
    with pytest.raises(ValueError, match="entry 3: no question with an answer"):
        records[1]


@pytest.mark.parametrize("name", ["muse_val", "rrsis_d_test", "earthreason_train", "pix2cap_train", "llava_v1_5_665k"])
def test_what_is_missing_is_named(tree: Tree, name: str):
    assert dataset_entry(name).missing(tree.root)
    with pytest.raises(FileNotFoundError, match="not found"):
        tree.open(name)
