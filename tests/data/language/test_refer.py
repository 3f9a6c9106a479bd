"""RefCOCO, RefCOCO+, RefCOCOg, RefCLEF and gRefCOCO in their published files."""

import logging
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from mvplm.data.check import check_records
from mvplm.data.unify import UnifySettings, unify
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import decode_mask

from .conftest import POLYGON, UNCOMPRESSED, Tree, compressed, instances, ref

DOG = Annotation((10.0, 5.0, 44.0, 50.0), None, POLYGON, id=1719310)
CROWD = Annotation((4.0, 6.0, 6.0, 36.0), None, UNCOMPRESSED, iscrowd=True, id=900100581857)
LEFT = Annotation((4.0, 6.0, 6.0, 36.0), None, UNCOMPRESSED, id=42)
RIGHT = Annotation((70.0, 2.0, 80.0, 6.0), None, compressed(), id=47)

REFS = [
    ref(16, 581857, 1719310, split="train", said={0: "the brown dog", 1: "dog  on left"}),
    ref(17, 9, 42, split="val", said={12: "left one"}),
    ref(40, 9, 47, split="val", said={3: "right one", 5: "corner"}),
    ref(18, 581857, 900100581857, split="train", said={8: "crowd"}),
    ref(19, 30, 50, split="testA", said={77: "a"}),
]


@pytest.fixture
def refer(tree: Tree) -> Tree:
    tree.pickle("refer/refcoco/refs(unc).p", REFS)
    tree.json("refer/refcoco/instances.json", instances())
    tree.folder("refer/images/mscoco/images/train2014")
    return tree


def picture(tree: Tree, number: int) -> Path:
    return tree.root / f"refer/images/mscoco/images/train2014/COCO_train2014_{number:012d}.jpg"


def test_evaluation_has_one_record_per_picture(refer):
    assert refer.open("refcoco_unc_val").image_id(0) == 9
    assert list(refer.open("refcoco_unc_val")) == [
        Record(
            image_id=9,
            image=picture(refer, 9),
            size=(60, 80),
            source="refcoco_unc_val",
            annotations=(LEFT, RIGHT),
            expressions=(
                Expression("left one", (0,), "", 12),
                Expression("right one", (1,), "", 3),
                Expression("corner", (1,), "", 5),
            ),
            exhaustive=False,
        )
    ]


def test_training_has_one_record_per_ref(refer):
    first, second = refer.open("refcoco_unc_train")
    assert first == Record(
        image_id=581857,
        image=picture(refer, 581857),
        size=(60, 80),
        source="refcoco_unc_train",
        annotations=(DOG,),
        expressions=(Expression("the brown dog", (0,), "", 0), Expression("dog on left", (0,), "", 1)),
        exhaustive=False,
    )
    assert second.annotations == (CROWD,) and [e.text for e in second.expressions] == ["crowd"]
    (together,) = refer.open("refcoco_unc_train", per="image")
    assert together.annotations == (DOG, CROWD) and [e.targets for e in together.expressions] == [(0,), (0,), (1,)]
    assert len(refer.open("refcoco_unc_train", num=1)) == 1
    with pytest.raises(ValueError, match="unknown per 'picture'"):
        refer.open("refcoco_unc_train", per="picture")


def test_masks_of_every_kind_decode(refer):
    (record,) = refer.open("refcoco_unc_val")
    left, right = (decode_mask(annotation.segmentation, record.size) for annotation in record.annotations)
    assert left.sum() == 60 and left[6:36, 4].all() and left[6:36, 5].all()
    assert right.sum() == 40 and right[2:6, 70:].all()
    (dog,) = refer.open("refcoco_unc_train")[0].annotations
    assert decode_mask(dog.segmentation, record.size)[20:50, 10:30].all()


def test_a_mapper_and_a_checker_can_use_them(refer):
    import random

    (record,) = refer.open("refcoco_unc_val")
    asked = unify(
        record, task="res", rng=random.Random(0), settings=UnifySettings(), training=False, expression_index=2
    )
    assert asked.expression.text == "corner" and [a.id for a, _ in asked.annotations] == [47]
    refer.picture(str(picture(refer, 581857).relative_to(refer.root)))
    report = check_records(refer.open("refcoco_unc_train"))
    assert not report.of("error") and report.counts["expressions"] == 3


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_of_every_age(tree, protocol):
    tree.pickle("refer_seg/refcoco+/refs(unc).p", [OrderedDict(entry) for entry in REFS], protocol=protocol)
    tree.json("refer_seg/refcoco+/instances.json", instances())
    tree.folder("coco/train2014")
    (record,) = tree.open("refcoco+_unc_val")
    assert record.image == tree.root / "coco/train2014/COCO_train2014_000000000009.jpg" and len(record.expressions) == 3


class Mischief:
    """Would make a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


def test_a_pickle_that_runs_something_is_refused_unrun(refer):
    trap = refer.root / "trap"
    refer.pickle("refer/refcoco/refs(unc).p", [*REFS, Mischief(trap)])
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p is refused: it asks for __builtin__"):
        refer.open("refcoco_unc_val")
    assert not trap.exists()


def test_the_edition_of_2017_does_as_well(tree):
    tree.pickle("refcocog/refs(umd).p", REFS)
    tree.json("refcocog/instances.json", instances())
    tree.folder("coco/train2017")
    (record,) = tree.open("refcocog_umd_val")
    assert record.image == tree.root / "coco/train2017/000000000009.jpg"


def test_refclef_has_lists_of_codes_and_mixed_splits(tree):
    data = instances()
    for place, image in enumerate(data["images"]):
        image["file_name"] = f"{place:02d}/images/{image['id']}.jpg"
    for annotation in data["annotations"]:
        annotation["segmentation"] = [compressed()]
    data["annotations"][-1]["segmentation"] = [compressed(), UNCOMPRESSED]
    refs = [ref(1, 9, 42, split="testAB", said={4: "sky"}), ref(2, 30, 50, split="testA", said={5: "two parts"})]
    tree.pickle("refer/refclef/refs(unc).p", refs)
    tree.json("refer/refclef/instances.json", data)
    tree.folder("refer/images/saiapr_tc-12")
    first, second = tree.open("refclef_unc_testA")
    assert first.image == tree.root / "refer/images/saiapr_tc-12/00/images/9.jpg"
    assert first.annotations[0].segmentation == compressed()
    both = decode_mask(second.annotations[0].segmentation, (60, 80))
    assert (both == decode_mask(compressed()) | decode_mask(UNCOMPRESSED)).all()
    assert [record.image_id for record in tree.open("refclef_unc_testB")] == [9]
    with pytest.raises(ValueError, match=r"no ref of split 'testC' \(splits: testA, testAB\)"):
        tree.open("refclef_unc_testC")


def test_several_and_no_targets(tree):
    tree.json(
        "refer/grefcoco/grefs(unc).json",
        [
            ref(1, 9, [42, 47], split="val", said={1: "both"}, no_target=False, category_id=[18, 18]),
            ref(2, 9, [-1], split="val", said={2: "the cat", 3: "a bus"}, no_target=True, category_id=[-1]),
            ref(3, 9, [47], split="val", said={4: "right one"}, no_target=False, category_id=[18]),
            ref(4, 30, [], split="val", said={5: "nobody"}, no_target=True, category_id=[]),
        ],
    )
    tree.json("refer/grefcoco/instances.json", instances())
    tree.folder("refer/images/train2014")
    first, second = tree.open("grefcoco_unc_val")
    assert first.annotations == (LEFT, RIGHT)
    assert first.expressions == (
        Expression("both", (0, 1), "multiple", 1),
        Expression("the cat", (), "none", 2),
        Expression("a bus", (), "none", 3),
        Expression("right one", (1,), "", 4),
    )
    assert second.annotations == () and second.expressions == (Expression("nobody", (), "none", 5),)
    assert len(tree.open("grefcoco_unc_val", per="ref")) == 4


def test_sentences_without_words_are_left_out_and_said_so(refer, caplog):
    refer.pickle("refer/refcoco/refs(unc).p", [ref(1, 9, 42, split="val", said={1: " ", 2: "sky"})])
    with caplog.at_level(logging.WARNING):
        (record,) = refer.open("refcoco_unc_val")
    assert [expression.id for expression in record.expressions] == [2] and "1 sentences of split val" in caplog.text


@pytest.mark.parametrize(
    ("refs", "message"),
    [
        ({"refs": []}, "must hold a list of refs, got dict"),
        ([{"split": "val"}], "malformed ref"),
        ([ref(1, 9, None, split="val", said={1: "a"})], "malformed ref"),
    ],
)
def test_malformed_refs_are_named(refer, refs, message):
    refer.pickle("refer/refcoco/refs(unc).p", refs)
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p.*" + message):
        refer.open("refcoco_unc_val")


@pytest.mark.parametrize(
    ("image_id", "ann_id", "message"), [(9, 41, "image 9 has no annotation 41"), (8, 42, "no image 8")]
)
def test_dangling_ids_are_named_when_met(refer, image_id, ann_id, message):
    refer.pickle("refer/refcoco/refs(unc).p", [ref(1, image_id, ann_id, split="val", said={1: "a"})])
    with pytest.raises(ValueError, match=message):
        refer.open("refcoco_unc_val")[0]


def test_what_is_missing_is_named_with_all_places(tree):
    with pytest.raises(FileNotFoundError, match=r"refer/refcoco/refs\(unc\)\.p or .*refer_seg/refcoco.*MVPLM_DATASETS"):
        tree.open("refcoco_unc_val")
    tree.pickle("refcoco/refs(unc).p", REFS)
    with pytest.raises(FileNotFoundError, match="mscoco/images/train2014"):
        tree.open("refcoco_unc_val")


def test_hashes_name_both_files(refer):
    hashes = refer.open("refcoco_unc_val").files.hashes()
    assert list(hashes) == ["instances.json", "refs(unc).p"] and all(len(text) == 16 for text in hashes.values())


def test_an_array_of_ids_is_plain_data_too(refer):
    entry = ref(1, 9, np.int64(42), split="val", said={1: "left"})
    refer.pickle("refer/refcoco/refs(unc).p", [entry])
    assert refer.open("refcoco_unc_val")[0].annotations == (LEFT,)


def test_datasets_travel_to_workers(refer):
    import pickle

    records = refer.open("refcoco_unc_val")
    fresh = pickle.loads(pickle.dumps(records))
    assert fresh[0] == records[0] and pickle.loads(pickle.dumps(records))[0] == records[0]
