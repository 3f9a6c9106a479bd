"""Perceptions as detections of the real ``supervision`` package."""

import sys

import numpy as np
import pytest
import torch

from mvplm.interop.supervision import to_supervision
from mvplm.structures import Instances, PanopticMap, Perception

supervision = pytest.importorskip("supervision")
SIZE = (20, 30)


def perception(count: int, *, masks: bool) -> Perception:
    boxes = torch.tensor([[1.5 + i, 2, 9 + i, 12] for i in range(count)]).reshape(-1, 4)
    full = torch.zeros(count, *SIZE, dtype=torch.bool)
    for i in range(count):
        full[i, 2:12, 2 + i : 9 + i] = True
    names = [("star", "a ring")[i % 2] for i in range(count)]
    index = torch.tensor([i % 2 for i in range(count)], dtype=torch.int64)
    scores = torch.linspace(0.9, 0.5, count)
    found = Instances(boxes, scores, names, index, full if masks else None)
    return Perception(SIZE, "instance", ["star", "a ring"], instances=found)


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_everything_arrives(count: int, masks: bool):
    answer = perception(count, masks=masks)
    detections = answer.to_supervision()
    assert isinstance(detections, supervision.Detections) and len(detections) == count
    assert detections.xyxy.shape == (count, 4) and detections.xyxy.dtype == np.float32
    assert np.array_equal(detections.xyxy, answer.instances.boxes.numpy())
    assert np.array_equal(detections.confidence, answer.instances.scores.numpy())
    assert detections.class_id.tolist() == answer.instances.class_index.tolist()
    assert list(detections.data["class_name"]) == answer.instances.labels
    if masks:
        assert detections.mask.dtype == bool and np.array_equal(detections.mask, answer.instances.masks.numpy())
    else:
        assert detections.mask is None


def test_the_library_can_work_with_it():
    detections = to_supervision(perception(3, masks=True))
    strong = detections[detections.confidence > 0.6]
    assert len(strong) == 2 and list(strong.data["class_name"]) == ["star", "a ring"]
    assert detections.area.tolist() == [70, 70, 70]
    scene = np.zeros((*SIZE, 3), np.uint8)
    drawn = supervision.MaskAnnotator().annotate(scene.copy(), detections)
    drawn = supervision.BoxAnnotator(thickness=1).annotate(drawn, detections)
    assert drawn.any() and not scene.any()


def test_a_perception_without_instances_is_refused():
    answer = Perception(SIZE, "panoptic", ["star"], panoptic=PanopticMap(torch.zeros(SIZE, dtype=torch.int32), []))
    with pytest.raises(ValueError, match="a perception of task 'panoptic' holds no instances"):
        answer.to_supervision()


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        to_supervision(perception(1, masks=False))
