"""Perceptions as detections of the real ``supervision`` package."""

import sys

import numpy as np
import pytest
import torch

from mvplm.interop.supervision import to_supervision
from mvplm.structures import Instances, PanopticMap, Perception, SegmentInfo, SemanticMap

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


def panoptic(*segments: SegmentInfo) -> Perception:
    values = torch.zeros(SIZE, dtype=torch.int32)
    values[2:6, 3:9] = 1
    values[10:] = 2
    values[2:4, 20:25] = 3
    known = torch.tensor([segment.id for segment in segments], dtype=torch.int32)
    values[~torch.isin(values, known)] = 0
    return Perception(SIZE, "panoptic", ["star", "sand"], panoptic=PanopticMap(values, list(segments)))


SEGMENTS = (
    SegmentInfo(1, "star", 0, True, 0.9, 24),
    SegmentInfo(2, "sand", 1, False, 0.8, 300),
    SegmentInfo(3, "star", 0, True, 0.7, 10),
)


def test_segments_of_a_panoptic_map_are_detections():
    answer = panoptic(*SEGMENTS)
    detections = answer.to_supervision()
    assert detections.xyxy.tolist() == [[3, 2, 9, 6], [0, 10, 30, 20], [20, 2, 25, 4]]
    assert detections.area.tolist() == [24, 300, 10] and detections.class_id.tolist() == [0, 1, 0]
    assert detections.confidence == pytest.approx([0.9, 0.8, 0.7])
    assert list(detections.data["class_name"]) == ["star", "sand", "star"]
    assert len(detections[detections.data["isthing"]]) == 2
    for mask, segment in zip(detections.mask, SEGMENTS, strict=True):
        assert np.array_equal(mask, answer.panoptic.segment_map.numpy() == segment.id)
    drawn = supervision.MaskAnnotator().annotate(np.zeros((*SIZE, 3), np.uint8), detections)
    assert drawn.any()


def test_an_empty_panoptic_map_has_no_detections():
    detections = panoptic().to_supervision()
    assert len(detections) == 0 and detections.mask.shape == (0, *SIZE) and detections.xyxy.shape == (0, 4)


def test_names_of_a_semantic_map_are_detections():
    values = torch.full(SIZE, 2)
    values[5:, 4:10] = 0
    values[0, 0] = -1
    answer = Perception(SIZE, "semantic", ["a", "b", "c"], semantic=SemanticMap(values, ["a", "b", "c"]))
    detections = answer.to_supervision()
    assert detections.class_id.tolist() == [0, 2] and list(detections.data["class_name"]) == ["a", "c"]
    assert detections.xyxy.tolist() == [[4, 5, 10, 20], [0, 0, 30, 20]]
    assert detections.confidence is None and detections.area.tolist() == [90, 600 - 90 - 1]


def test_a_perception_of_nothing_is_refused():
    with pytest.raises(ValueError, match="a perception of task 'panoptic' holds neither instances nor a map"):
        Perception(SIZE, "panoptic", ["star"]).to_supervision()


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match="pip install supervision"):
        to_supervision(perception(1, masks=False))
