"""Masks in all their forms, and the dataclasses' validation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mvplm.structures import Annotation, Expression, Instances, Perception, PerceptionOutput, Record, Target, Vocabulary
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


def test_targets_know_whether_they_have_masks():
    labels, boxes = torch.tensor([0, 2]), torch.rand(2, 4)
    assert Target(labels, boxes).has_mask.tolist() == [False, False]
    assert Target(labels, boxes, torch.ones(2, 3, 3, dtype=torch.bool)).has_mask.tolist() == [True, True]


def test_outputs_of_other_networks():
    output = PerceptionOutput.of(torch.zeros(2, 5, 4), torch.zeros(2, 5, 4))
    assert (output.family, output.num_things, output.frame, output.valid_sizes) == ("word", 5, (1, 1), [(1, 1)] * 2)
    assert output.logits.shape == (1, 2, 5, 4) and output.isthing.shape == output.name_mask.shape == (2, 3)
    masks = {"mask_embeddings": torch.zeros(2, 5, 8), "mask_features": torch.zeros(2, 8, 6, 7)}
    output = PerceptionOutput.of(torch.zeros(2, 5, 1), torch.zeros(2, 5, 4), **masks)
    assert (output.family, output.frame) == ("sentence", (24, 28)) and output.final.mask_embeddings.shape == (2, 5, 8)
    assert PerceptionOutput.of(torch.zeros(2, 5, 1), torch.zeros(2, 5, 4), **masks, frame=(20, 28)).frame == (20, 28)
    with pytest.raises(ValueError, match=r"need boxes \(B, Q, 4\), got \(1, 2, 5, 4\) and \(1, 2, 6, 4\)"):
        PerceptionOutput.of(torch.zeros(2, 5, 4), torch.zeros(2, 6, 4))
    with pytest.raises(ValueError, match="both mask_embeddings and mask_features"):
        PerceptionOutput.of(torch.zeros(2, 5, 4), torch.zeros(2, 5, 4), mask_features=torch.zeros(2, 8, 6, 7))


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
