"""LLaVA's caption sets and ReasonSeg in their published files."""

import json

import numpy as np
import pytest

from mvplm.data.datasets.reasonseg import paint
from mvplm.data.views import pictures
from mvplm.structures import Expression, Record
from mvplm.structures.masks import decode_mask

from .conftest import Tree


def talk(number: str, image: str | None, *answers: str) -> dict:
    turns = []
    for answer in answers:
        turns += [{"from": "human", "value": "Describe it.\n<image>"}, {"from": "gpt", "value": answer}]
    return {"id": number, "conversations": turns, **({} if image is None else {"image": image})}


def test_llava_pretraining(tree: Tree):
    tree.json(
        "LLaVA-Pretrain/blip_laion_cc_sbu_558k.json",
        [
            talk("004539375", "00453/004539375.jpg", "select luxury furniture  3-inch\nfoam"),
            talk("text", None, "no picture here"),
            talk("000000001", "00000/000000001.jpg", "a", "b"),
        ],
    )
    for place in ("00453/004539375.jpg", "00000/000000001.jpg"):
        tree.picture(f"LLaVA-Pretrain/images/{place}", (30, 50))
    records = tree.open("llava_pretrain_558k")
    assert list(records) == [
        Record(
            image_id=name.rpartition("/")[2][:-4],
            image=tree.root / "LLaVA-Pretrain/images" / name,
            size=(30, 50),
            source="llava_pretrain_558k",
            captions=(caption,),
            exhaustive=False,
        )
        for name, caption in (
            ("00453/004539375.jpg", "select luxury furniture 3-inch foam"),
            ("00000/000000001.jpg", "a"),
        )
    ]
    assert pictures(records) == {"llava_pretrain_558k:004539375", "llava_pretrain_558k:000000001"}
    assert list(records.files.hashes()) == ["blip_laion_cc_sbu_558k.json"]


def test_cc3m_and_what_may_be_wrong(tree: Tree):
    names = ["GCC_train_002582585.jpg", "GCC_train_1.jpg"]
    tree.json("cc3m_595k/chat.json", [talk("GCC_train_002582585", names[0], "a dog"), talk("x", names[1])])
    for name in names:
        tree.picture(f"cc3m_595k/{name}")
    records = tree.open("cc3m_595k")
    assert records[0].image == tree.root / "cc3m_595k" / names[0] and records[0].captions == ("a dog",)
    with pytest.raises(ValueError, match="entry x: no answer"):
        records[1]
    (tree.root / "cc3m_595k" / names[0]).unlink()
    with pytest.raises(FileNotFoundError, match="GCC_train_002582585.jpg"):
        records[0]


def square(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    points = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": "a.jpg",
        "points": [[x + 0.4, y + 0.4] for x, y in points],
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }


def test_reasonseg(tree: Tree):
    for name, shapes, texts, sentence in (
        ("b", [square("flag", 0, 0, 70, 50)], ["nothing"], False),
        (
            "a",
            [square("ignore", 20, 20, 29, 29), square("target", 10, 10, 39, 39), square("Target", 60, 5, 69, 9)],
            ["What keeps the rain\noff?", "the roof"],
            True,
        ),
    ):
        tree.picture(f"reason_seg/ReasonSeg/val/{name}.jpg")
        tree.json(f"reason_seg/ReasonSeg/val/{name}.json", {"text": texts, "is_sentence": sentence, "shapes": shapes})
    first, second = tree.open("reasonseg_val")
    assert (first.image_id, first.size, first.image.name) == ("a", (60, 80), "a.jpg")
    assert first.expressions == (
        Expression("What keeps the rain off?", (0,), "sentence", 0),
        Expression("the roof", (0,), "sentence", 1),
    )
    target, ignored = first.annotations
    expected = np.zeros((60, 80), bool)
    expected[10:40, 10:40] = expected[5:10, 60:70] = True
    expected[20:30, 20:30] = False
    assert (decode_mask(target.segmentation) == expected).all() and target.box == (10.0, 5.0, 70.0, 40.0)
    assert ignored.iscrowd and ignored.box == (20.0, 20.0, 30.0, 30.0)
    assert second.annotations == () and second.expressions == (Expression("nothing", (), "phrase", 0),)
    assert pictures(tree.open("reasonseg_val", num=1)) == {"reasonseg:a"}


def test_small_shapes_are_painted_over_large_ones():
    shapes = [square("target", 12, 12, 15, 15), square("ignore", 10, 10, 20, 20), square("target", 0, 0, 30, 30)]
    painted = paint(shapes, (40, 40))
    assert (painted[13, 13], painted[11, 11], painted[5, 5], painted[35, 35]) == (1, 255, 1, 0)
    assert not paint([{"label": "target", "points": [[1, 1], [2, 2]]}], (5, 5)).any()


def test_reasonseg_files_of_windows_and_broken_ones(tree: Tree):
    tree.picture("ReasonSeg/test/a.jpg")
    file = tree.root / "ReasonSeg/test/a.json"
    file.write_bytes(
        json.dumps({"text": ["it’s"], "is_sentence": True, "shapes": []}, ensure_ascii=False).encode("cp1252")
    )
    records = tree.open("reasonseg_test")
    assert records[0].expressions[0].text == "it’s"
    file.write_text('{"text": []}')
    with pytest.raises(ValueError, match=r"a\.json needs the keys text, is_sentence and shapes"):
        records[0]
    file.write_text("{")
    with pytest.raises(ValueError, match=r"a\.json is not valid JSON"):
        records[0]
    file.unlink()
    with pytest.raises(FileNotFoundError):
        records[0]
    tree.folder("ReasonSeg/train")
    with pytest.raises(FileNotFoundError, match="no picture"):
        tree.open("reasonseg_train")


def test_ids_are_known_without_building_records(tree: Tree):
    tree.json("cc3m_595k/chat.json", [talk("GCC_train_1", "GCC_train_1.jpg", "a dog")])
    tree.json("reason_seg/val/a.json", {"text": ["b"], "is_sentence": False, "shapes": []})
    for place in ("cc3m_595k/GCC_train_1.jpg", "reason_seg/val/a.jpg"):
        tree.picture(place)
    for name in ("cc3m_595k", "reasonseg_val"):
        records = tree.open(name)
        assert records.image_id(0) == records[0].image_id
