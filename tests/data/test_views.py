"""Views of datasets: merged expressions, first synonyms, and training without pictures of evaluation sets."""

from dataclasses import replace

import numpy as np
import pytest

from mvplm.build_training import build_mixture, open_records
from mvplm.config import EvalSetConfig, load_config
from mvplm.data.catalog import get_dataset
from mvplm.data.datasets.base import RecordSequence, picture_key
from mvplm.data.views import (
    RecordView,
    first_synonyms,
    merge_expressions,
    merge_sentences,
    pictures,
    prepared,
    without_pictures,
)
from mvplm.structures import Annotation, Expression, Record, Vocabulary

NAMES = Vocabulary(("door, double door", "wall", "door"), (True, False, True), (3, 5, 9))


class Named(RecordSequence):
    """Records with file names and nothing behind them."""

    vocabulary = NAMES

    def __init__(self, *names: str) -> None:
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        return Record(index, self.names[index], (4, 4), vocabulary=NAMES)

    def picture(self, index: int) -> str:
        return self.names[index]


def referring() -> Record:
    boxes = tuple(Annotation((0.0, 0.0, 2.0, 2.0)) for _ in range(3))
    said = (("a", (0,)), ("none one", ()), ("b c", (0,)), ("both", (1, 2)), ("none two", ()), ("the two", (2, 1)))
    expressions = tuple(Expression(text, targets, "kind", place) for place, (text, targets) in enumerate(said))
    return Record(1, np.zeros((4, 4, 3), np.uint8), (4, 4), annotations=boxes, expressions=expressions)


def test_g52_merged_sentences():
    assert merge_sentences(["a", "b c"]) == " a. b c."


def test_expressions_for_the_same_objects_become_one():
    record = referring()
    merged = merge_expressions(record)
    assert [(e.text, e.targets, e.id) for e in merged.expressions] == [
        ("a. b c.", (0,), 0),
        ("none one.", (), 1),
        ("both. the two.", (1, 2), 3),
        ("none two.", (), 4),
    ]
    assert len(record.expressions) == 6
    assert [e.text for e in prepared([record], merged=True)[0].expressions] == [e.text for e in merged.expressions]


def test_names_are_cut_at_the_first_comma_unless_they_collide():
    assert first_synonyms(NAMES).names == ("door, double door", "wall", "door")
    apart = replace(NAMES, names=("door, double door", "wall, brick wall", "gate"))
    short = first_synonyms(apart)
    assert short.names == ("door", "wall", "gate")
    assert (short.isthing, short.dataset_ids, short.index_of(9)) == (NAMES.isthing, NAMES.dataset_ids, 2)
    dataset = Named("1.jpg")
    dataset.vocabulary = apart
    assert prepared(dataset)[0].vocabulary.names == ("door", "wall", "gate")
    assert prepared(dataset, synonyms="joined") is dataset
    with pytest.raises(ValueError, match="unknown synonyms 'all'"):
        prepared(dataset, synonyms="all")


def test_nothing_to_change_is_the_dataset_itself():
    scenes = get_dataset("scenes/train", num=2, role="panoptic")
    assert prepared(scenes) is scenes and without_pictures(scenes, {"1"}) is scenes and pictures(scenes) == set()


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COCO_train2014_000000000009.jpg", "9"),
        ("images/train2017/000000000009.jpg", "9"),
        ("a/ADE_val_00000012.png", "ADE_val_00000012"),
        ("a/park.jpg", "park"),
    ],
)
def test_a_picture_is_known_in_every_edition(name: str, key: str):
    assert picture_key(name) == key


def test_pictures_are_left_out():
    dataset = Named("000000000009.jpg", "000000000010.jpg", "000000000011.jpg")
    left = without_pictures(dataset, {"10", "77"})
    assert [record.image for record in left] == ["000000000009.jpg", "000000000011.jpg"]
    assert pictures(left) == {"9", "11"} and left.vocabulary is NAMES
    assert without_pictures(dataset, {"77"}) is dataset and without_pictures(dataset, set()) is dataset
    assert pictures(RecordView(left, change=lambda record: record)) == {"9", "11"}
    with pytest.raises(ValueError, match="every picture of this dataset belongs to an evaluation set"):
        without_pictures(dataset, {"9", "10", "11"})


@pytest.fixture
def photos(shared_data, monkeypatch):
    if not (shared_data / "coco_mini").is_dir():
        pytest.skip(f"no photos: {shared_data / 'coco_mini'} is absent")
    monkeypatch.setenv("MVPLM_DATASETS", str(shared_data))


def test_training_leaves_out_pictures_of_referring_sets(photos, small_tokenizer):
    sets = ["eval.sets.refs={dataset: coco_mini/refs, task: res}", "model.preset=mvplm-tiny"]
    source = "data.sources.it={dataset: coco_mini/val, options: {role: instance}, task: instance}"

    def kept(*overrides: str) -> set[str]:
        config = load_config(None, [*sets, source, *overrides])
        return pictures(build_mixture(config, small_tokenizer).mixture.sources["it"].dataset)

    asked = pictures(get_dataset("coco_mini/refs"))
    every = kept("data.exclude_eval_images=false")
    assert len(every) == 50 and len(every & asked) == 9
    assert kept() == every - asked
    with pytest.raises(ValueError, match="data.sources.it: every picture .*; see data.exclude_eval_images"):
        kept("data.sources.it.dataset=coco_mini/refs", "data.sources.it.task=res", "data.sources.it.options={}")


def test_the_protocol_reaches_evaluation_and_training(photos):
    entry = EvalSetConfig(dataset="coco_mini/refs", task="res")
    whole = open_records(load_config(), entry)
    merged = open_records(load_config(None, ["eval.res_protocol=merged"]), entry)
    assert len(merged) == len(whole)
    assert sum(len(r.expressions) for r in merged) < sum(len(r.expressions) for r in whole)
    assert all(e.text.endswith(".") for r in merged for e in r.expressions)
