"""Perceptions as COCO results: plain JSON that the real pycocotools loads, decodes and scores."""

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mvplm.structures import Instances, Perception

SIZE = (40, 60)
IDS = (7, 90)


def perception(*, masks: bool = True) -> Perception:
    full = torch.zeros(3, *SIZE, dtype=torch.bool)
    full[0, 5:30, 2:20] = True
    full[1, 10:12, 30:55] = True
    full[1, 20, 31] = True
    full[2] = torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = torch.tensor([[2.0, 5, 20, 30], [30, 10, 55, 21], [0, 0, 60, 40]])
    index = torch.tensor([1, 0, 1])
    labels = [("star", "ring")[i] for i in index.tolist()]
    scores = torch.tensor([0.9, 0.75, 0.5])
    return Perception(
        SIZE, "instance", ["star", "ring"], instances=Instances(boxes, scores, labels, index, full if masks else None)
    )


def truth(answer: Perception) -> COCO:
    """A COCO dataset of one image whose objects are exactly those of the answer."""
    objects = json.loads(json.dumps(answer.to_coco(3, category_ids=IDS)))
    annotations = [
        {**entry, "id": i + 1, "iscrowd": 0, "area": float(np.prod(entry["bbox"][2:]))}
        for i, entry in enumerate(objects)
    ]
    dataset = COCO()
    dataset.dataset = {
        "info": {},
        "images": [{"id": 3, "height": SIZE[0], "width": SIZE[1]}],
        "categories": [{"id": IDS[0], "name": "star"}, {"id": IDS[1], "name": "ring"}],
        "annotations": annotations,
    }
    dataset.createIndex()
    return dataset


def test_results_survive_json_and_decode_to_the_same_masks():
    answer = perception()
    results = json.loads(json.dumps(answer.to_coco(3, category_ids=IDS)))
    loaded = truth(answer).loadRes(results)
    annotations = loaded.loadAnns(loaded.getAnnIds(imgIds=[3]))
    assert [entry["category_id"] for entry in annotations] == [90, 7, 90]
    assert [entry["bbox"] for entry in annotations] == [[2, 5, 18, 25], [30, 10, 25, 11], [0, 0, 60, 40]]
    assert [entry["score"] for entry in annotations] == pytest.approx([0.9, 0.75, 0.5])
    for entry, mask in zip(annotations, answer.instances.masks.numpy(), strict=True):
        assert np.array_equal(loaded.annToMask(entry).astype(bool), mask)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_answer_scores_full_marks_against_itself(kind: str):
    answer = perception(masks=kind == "segm")
    reference = truth(answer)
    scores = COCOeval(reference, reference.loadRes(answer.to_coco(3, category_ids=IDS)), kind)
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)


def test_the_whole_dictionary_is_json():
    answer = perception()
    again = json.loads(json.dumps(answer.to_dict()))
    assert [entry["segmentation"]["size"] for entry in again["instances"]] == [list(SIZE)] * 3
