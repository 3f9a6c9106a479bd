"""Objects365 v2 and GoldG (MDETR's format and the OV-DINO variant) in their published files."""

import pickle
import random
from typing import Any

import pytest

from mvplm.data.datasets.goldg import clean_phrase
from mvplm.data.unify import UnifySettings, unify
from mvplm.data.views import pictures
from mvplm.structures import Annotation, Record, Vocabulary

from .conftest import Tree


def objects365() -> dict[str, Any]:
    def image(number: int, name: str) -> dict[str, Any]:
        return {"height": 512, "id": number, "license": 5, "width": 769, "file_name": name, "url": ""}

    def box(number: int, image_id: int, category: int, *, crowd: int = 0) -> dict[str, Any]:
        return {
            "id": number,
            "iscrowd": crowd,
            "isfake": 0,
            "area": 1639.5,
            "isreflected": 0,
            "bbox": [370.5, 201.25, 31.5, 52.0],
            "image_id": image_id,
            "category_id": category,
        }

    return {
        "images": [
            image(420917, "images/v1/patch8/objects365_v1_00420917.jpg"),
            image(908726, "images/v2/patch16/objects365_v2_00908726.jpg"),
        ],
        "annotations": [box(7, 420917, 13), box(2, 420917, 2, crowd=1), box(11, 420917, 1)],
        "categories": [
            {"name": "Person", "id": 1},
            {"name": " Sneakers", "id": 2},
            {"name": "Wild Bird ", "id": 13},
        ],
        "licenses": [{"name": "", "id": 5, "url": ""}],
    }


NAMES = Vocabulary(("person", "sneakers", "wild bird"), (True, True, True), (1, 2, 13))
BOX = (370.5, 201.25, 402.0, 253.25)


def test_objects365(tree: Tree):
    tree.json("objects365/annotations/zhiyuan_objv2_train.json", objects365())
    tree.folder("objects365/images/train")
    records = tree.open("objects365_v2_train")
    assert records.vocabulary == NAMES
    assert [records.image_id(place) for place in range(len(records))] == [record.image_id for record in records]
    assert records[0] == Record(
        image_id=420917,
        image=tree.root / "objects365/images/train/patch8/objects365_v1_00420917.jpg",
        size=(512, 769),
        source="objects365_v2_train",
        vocabulary=NAMES,
        annotations=(
            Annotation(BOX, 2, id=7),
            Annotation(BOX, 1, iscrowd=True, id=2),
            Annotation(BOX, 0, id=11),
        ),
    )
    assert records[-1].image_id == 908726 and records[-1].annotations == () and records[1].exhaustive
    assert pictures(records) == {"objects365:objects365_v1_00420917", "objects365:objects365_v2_00908726"}
    assert [record.image_id for record in tree.open("objects365_v2_train", num=1)] == [420917]
    assert pickle.loads(pickle.dumps(records))[0] == records[0]
    with pytest.raises(FileNotFoundError, match="zhiyuan_objv2_val.json"):
        tree.open("objects365_v2_val")


def test_objects365_as_the_archives_unpack(tree: Tree):
    tree.json("Objects365v2/val/zhiyuan_objv2_val.json", objects365())
    for version in ("v1", "v2"):
        tree.folder(f"Objects365v2/val/images/{version}")
    images = tree.root / "Objects365v2/val/images"
    assert [record.image for record in tree.open("objects365_v2_val")] == [
        images / "v1/patch8/objects365_v1_00420917.jpg",
        images / "v2/patch16/objects365_v2_00908726.jpg",
    ]


CAPTION = "Two  young (white) males-to-be near a T-shirt stand"


def span(words: str) -> list[int]:
    start = CAPTION.index(words)
    return [start, start + len(words)]


def flickr() -> dict[str, Any]:
    def image(number: int, name: str, caption: str) -> dict[str, Any]:
        return {
            "file_name": name,
            "height": 375,
            "width": 500,
            "id": number,
            "original_img_id": 1000092795,
            "caption": caption,
            "dataset_name": "flickr",
            "tokens_negative": [[0, len(caption)]],
            "sentence_id": 0,
            "tokens_positive_eval": [],
        }

    def box(number: int, image_id: int, spans: list[list[int]]) -> dict[str, Any]:
        return {
            "area": 100.0,
            "iscrowd": 0,
            "image_id": image_id,
            "category_id": 1,
            "id": number,
            "bbox": [1.0, 2.0, 3.5, 4.0],
            "tokens_positive": spans,
        }

    return {
        "info": [],
        "licenses": [],
        "images": [
            image(5, "1000092795.jpg", CAPTION),
            image(6, "1000092795.jpg", "Nothing is found here"),
            image(8, "100.jpg", "café au lait, a cup"),
        ],
        "annotations": [
            box(3, 5, [span("Two  young (white) males-to-be")]),
            box(0, 5, [span("T-shirt"), span("stand")]),
            box(9, 6, []),
            box(4, 8, [[0, 4]]),
        ],
        "categories": [{"supercategory": "object", "id": 1, "name": "object"}],
    }


XYXY = (1.0, 2.0, 4.5, 6.0)


def test_flickr30k_entities(tree: Tree):
    tree.json("goldg/final_flickr_separateGT_train.json", flickr())
    images = tree.folder("flickr30k/flickr30k-images")
    records = tree.open("flickr30k_goldg_train")
    assert list(records) == [
        Record(
            image_id=5,
            image=images / "1000092795.jpg",
            size=(375, 500),
            source="flickr30k_goldg_train",
            annotations=(
                Annotation(XYXY, phrase="two young white males to be", id=3),
                Annotation(XYXY, phrase="t shirt stand", id=0),
            ),
            captions=("Two young (white) males-to-be near a T-shirt stand",),
            exhaustive=False,
        ),
        Record(
            image_id=8,
            image=images / "100.jpg",
            size=(375, 500),
            source="flickr30k_goldg_train",
            annotations=(Annotation(XYXY, phrase="café", id=4),),
            captions=("café au lait, a cup",),
            exhaustive=False,
        ),
    ]
    assert tree.open("flickr30k_goldg_train", captions=False)[0].captions == ()
    assert pictures(records) == {"flickr30k:1000092795", "flickr30k:100"}
    asked = unify(records[0], task="grounding", rng=random.Random(0), settings=UnifySettings(), training=True)
    assert set(asked.names) == {annotation.phrase for annotation in records[0].annotations}


def mixed() -> dict[str, Any]:
    data = flickr()
    names = ["COCO_train2014_000000000009.jpg", "2370799.jpg", "285.jpg"]
    for image, name, origin in zip(data["images"], names, ("coco", "vg", "vg"), strict=True):
        image |= {"file_name": name, "data_source": origin, "dataset_name": "mixed"}
    data["annotations"][2]["tokens_positive"] = [[0, 7]]
    return data


def test_gqa_without_coco(tree: Tree):
    tree.json("mdetr_annotations/final_mixed_train.json", mixed())
    images = tree.folder("gqa/images")
    records = tree.open("gqa_goldg_train")
    assert [record.image for record in records] == [images / "2370799.jpg", images / "285.jpg"]
    assert [[a.phrase for a in record.annotations] for record in records] == [["nothing"], ["café"]]
    assert records[0].captions == () and tree.open("gqa_goldg_train", captions=True)[0].captions
    assert pictures(records) == {"visual_genome:2370799", "visual_genome:285"}


def test_pictures_of_visual_genome_that_are_cocos(tree: Tree):
    tree.json("goldg/final_mixed_train.json", mixed())
    tree.folder("gqa/images")
    tree.json(
        "visual_genome/image_data.json",
        [
            {"image_id": 285, "url": "", "width": 500, "height": 375, "coco_id": 581857, "flickr_id": None},
            {"image_id": 2370799, "url": "", "width": 500, "height": 375, "coco_id": None, "flickr_id": 4},
        ],
    )
    assert pictures(tree.open("gqa_goldg_train")) == {"visual_genome:2370799", "581857"}


def test_the_variant_with_names_for_every_picture(tree: Tree):
    data = flickr()
    for image in data["images"]:
        image["category_names"] = ["Two_males", "T-shirt  stand"]
    for place, annotation in enumerate(data["annotations"]):
        del annotation["tokens_positive"]
        annotation["category_id"] = place % 2
    tree.json("flickr30k/final_flickr_separateGT_val.json", data)
    records = tree.open("flickr30k_goldg_val")
    assert [[a.phrase for a in record.annotations] for record in records] == [
        ["two males", "t shirt stand"],
        ["two males"],
        ["t shirt stand"],
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["annotations"][0].update(tokens_positive=[[40, 60]]), "image 5: span 40:60 in a caption of"),
        (lambda data: data["annotations"][0].update(tokens_positive=[[4, 4]]), "image 5: span 4:4"),
        (lambda data: data["images"][0].update(category_names=["a"]), "image 5: category 1 of 1 names"),
    ],
)
def test_words_that_are_not_there(tree: Tree, change, message):
    data = flickr()
    change(data)
    tree.json("goldg/final_flickr_separateGT_test.json", data)
    tree.folder("flickr30k")
    with pytest.raises(ValueError, match=message):
        tree.open("flickr30k_goldg_test")[0]


@pytest.mark.parametrize(("text", "clean"), [(" A (red)_Bus-stop ", "a red bus stop"), ("()", ""), ("ÉTÉ", "été")])
def test_phrases_are_cleaned(text, clean):
    assert clean_phrase(text) == clean
