"""Masks in all their forms, and the dataclasses' validation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mvplm.structures import Annotation, Expression, Instances, Perception, Record, Target, Vocabulary
from mvplm.structures.masks import decode_mask, encode_mask, mask_area


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_rle_round_trip(mask):
    code = encode_mask(mask)
    assert isinstance(code["counts"], str)
    assert np.array_equal(decode_mask(code), mask) and mask_area(code) == mask.sum()


def test_uncompressed_and_polygon_forms():
    assert decode_mask({"size": [2, 3], "counts": [2, 2, 2]}).sum() == 2
    square = decode_mask([[1, 1, 5, 1, 5, 5, 1, 5]], (8, 8))
    assert square[1:5, 1:5].all() and square.sum() == 16


@pytest.mark.parametrize(
    ("code", "size", "message"),
    [
        ({"size": [2, 3], "counts": [1, 1]}, None, "counts sum to 2"),
        ({"counts": "abc"}, None, "needs the keys"),
        ({"size": [2, 2], "counts": [4]}, (3, 3), "differs from the image size"),
        ([[0, 0, 1, 1]], (4, 4), "at least 6 numbers"),
        ([[0, 0, 1, 1, 2, 2]], None, "need size"),
    ],
)
def test_malformed_masks_are_refused(code, size, message):
    with pytest.raises(ValueError, match=message):
        decode_mask(code, size)


def test_vocabulary_defaults_and_lookup():
    vocabulary = Vocabulary(("dog", "sky"), (True, False), (18, 187))
    assert vocabulary.index_of(187) == 1 and vocabulary.subset([1]).names == ("sky",)
    assert Vocabulary(("a", "b")).isthing == (True, True)
    with pytest.raises(ValueError, match="unknown category id 5"):
        vocabulary.index_of(5)
    with pytest.raises(ValueError, match="unique"):
        Vocabulary(("a", "b"), dataset_ids=(1, 1))


def test_records_refuse_dangling_references():
    with pytest.raises(ValueError, match="points at annotation 1"):
        Record(1, "x.jpg", (4, 4), annotations=(Annotation((0, 0, 1, 1)),), expressions=(Expression("it", (1,)),))
    with pytest.raises(ValueError, match="outside the vocabulary"):
        Record(1, "x.jpg", (4, 4), vocabulary=Vocabulary(("a",)), annotations=(Annotation((0, 0, 1, 1), label=3),))
    with pytest.raises(ValueError, match="x2 >= x1"):
        Annotation((5, 0, 1, 1))


def test_targets_validate():
    with pytest.raises(ValueError, match="boxes must be"):
        Target(torch.zeros(2, dtype=torch.long), torch.zeros(1, 4), None, torch.zeros(2, dtype=torch.bool))
    with pytest.raises(ValueError, match="no masks"):
        Target(torch.zeros(1, dtype=torch.long), torch.zeros(1, 4), None, torch.ones(1, dtype=torch.bool))


def test_perception_to_dict_and_coco():
    masks = torch.zeros(1, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:5] = True
    found = Instances(torch.tensor([[2.0, 1, 5, 3]]), torch.tensor([0.5]), ["dog"], torch.tensor([1]), masks)
    perception = Perception((4, 6), "instance", ["cat", "dog"], instances=found)
    entry = perception.to_dict()["instances"][0]
    assert entry["box"] == [2, 1, 5, 3] and np.array_equal(decode_mask(entry["segmentation"]), masks[0].numpy())
    coco = perception.to_coco(7, category_ids=[3, 18])[0]
    assert coco["bbox"] == [2, 1, 3, 2] and coco["category_id"] == 18 and coco["image_id"] == 7
    assert len(found.keep(found.scores > 0.9)) == 0
