"""Metadata of detectron2's kinds of data sets as names, and back."""

import pytest
from oracles.detectron2_double import Metadata

from mvplm.interop.detectron2 import DatasetNames, metadata_of
from mvplm.structures import Vocabulary

VOCABULARY = Vocabulary(("sky", "star", "ring", "sand"), (False, True, True, False), (40, 3, 11, 7))


def names_of(**known) -> DatasetNames:
    return DatasetNames.from_metadata(Metadata(name="mine", **known))


def test_things_only():
    names = names_of(thing_classes=["star", "ring"], thing_dataset_id_to_contiguous_id={9: 1, 4: 0})
    assert names.vocabulary == Vocabulary(("star", "ring"), (True, True), (4, 9))
    assert (names.thing_ids, names.stuff_ids, names.channels) == ((0, 1), (-1, -1), 0)
    assert names.by_class == {0: 0, 1: 1} and names.by_channel == {}


def test_stuff_only():
    names = names_of(stuff_classes=["road", "car"], ignore_label=254)
    assert names.vocabulary == Vocabulary(("road", "car"), (False, False)) and names.ignore_label == 254
    assert names.channels == 2 and names.by_channel == {0: 0, 1: 1}
    assert names.by_class == {0: 0, 1: 1}


def test_counted_apart_with_a_class_for_all_things():
    names = names_of(
        thing_classes=["star", "ring"],
        stuff_classes=["things", "sky", "sand"],
        thing_dataset_id_to_contiguous_id={1: 0, 5: 1},
        stuff_dataset_id_to_contiguous_id={1: 0, 5: 0, 92: 1, 93: 2},
    )
    assert names.vocabulary == Vocabulary(("star", "ring", "sky", "sand"), (True, True, False, False), (1, 5, 92, 93))
    assert names.thing_ids == (0, 1, -1, -1) and names.stuff_ids == (0, 0, 1, 2) and names.channels == 3
    assert names.by_class == {0: 0, 1: 1} and names.by_channel == {1: 2, 2: 3}


def test_counted_apart_without_such_a_class():
    names = names_of(thing_classes=["star"], stuff_classes=["sky"])
    assert names.stuff_ids == (-1, 0) and names.by_channel == {0: 1} and names.vocabulary.dataset_ids == (0, 1)


@pytest.mark.parametrize("things", [["star", "ring"], ["sky", "star", "ring", "sand"]])
def test_counted_together(things: list[str]):
    names = names_of(
        thing_classes=things,
        stuff_classes=["sky", "star", "ring", "sand"],
        thing_dataset_id_to_contiguous_id={3: 1, 11: 2},
        stuff_dataset_id_to_contiguous_id={40: 0, 3: 1, 11: 2, 7: 3},
    )
    assert names.vocabulary == VOCABULARY
    assert names.thing_ids == names.stuff_ids == (0, 1, 2, 3)
    assert names.by_class == names.by_channel == {i: i for i in range(4)}


def test_counted_together_without_maps():
    names = names_of(thing_classes=["ring"], stuff_classes=["sky", "ring"])
    assert names.vocabulary == Vocabulary(("sky", "ring"), (False, True))


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({}, "dataset 'mine' has neither thing_classes nor stuff_classes"),
        ({"thing_classes": ["a"], "stuff_classes": ["a"]}, "needs thing_dataset_id_to_contiguous_id"),
        ({"thing_classes": ["a", "b"], "stuff_classes": ["b", "c"]}, "names that are things and stuff: b"),
    ],
)
def test_metadata_that_says_too_little(known: dict, message: str):
    with pytest.raises(ValueError, match=message):
        names_of(**known)


@pytest.mark.parametrize("vocabulary", [VOCABULARY, VOCABULARY.subset([1, 2]), VOCABULARY.subset([0, 3])])
def test_a_vocabulary_survives_its_metadata(vocabulary: Vocabulary):
    assert names_of(**metadata_of(vocabulary)).vocabulary == vocabulary


def test_things_keep_their_ids():
    names = DatasetNames.of(VOCABULARY).things()
    assert names.vocabulary == VOCABULARY.subset([1, 2])
    assert (names.thing_ids, names.stuff_ids, names.channels) == ((1, 2), (1, 2), 4)


def test_ids_must_be_as_many_as_names():
    with pytest.raises(ValueError, match=r"4 names need as many ids, got 1 \(things\) and 4 \(stuff\)"):
        DatasetNames(VOCABULARY, (0,), (0, 1, 2, 3), channels=4)
