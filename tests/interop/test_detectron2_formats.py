"""detectron2's inputs as records, and perceptions as its outputs."""

import sys

import numpy as np
import pytest
import torch
from oracles.detectron2_double import BitMasks, Boxes, PolygonMasks
from oracles.detectron2_double import Instances as Detected

from mvplm.interop.detectron2 import DatasetNames, to_detectron2, to_record
from mvplm.interop.detectron2_inputs import output_size
from mvplm.structures import Instances, PanopticMap, Perception, Record, SegmentInfo, SemanticMap, Vocabulary
from mvplm.structures.masks import decode_mask

SIZE = (12, 16)
APART = DatasetNames(
    Vocabulary(("star", "ring", "sky"), (True, True, False)), thing_ids=(0, 1, -1), stuff_ids=(0, 0, 1), channels=2
)
TOGETHER = DatasetNames.of(("star", "ring", "sky"), (True, True, False))


def image(dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    values = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(0))
    return values.to(dtype)


def bitmaps(*corners: tuple[int, int, int, int]) -> torch.Tensor:
    masks = torch.zeros(len(corners), *SIZE, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, corners, strict=True):
        mask[y1:y2, x1:x2] = True
    return masks


def found(record: Record) -> list[tuple]:
    return [(a.label, a.box, a.isthing, a.iscrowd) for a in record.annotations]


def masks_of(record: Record) -> list[np.ndarray]:
    return [decode_mask(annotation.segmentation, SIZE) for annotation in record.annotations]


def test_pictures_of_either_order_and_type():
    expected = image().permute(1, 2, 0).numpy()
    for dtype in (torch.uint8, torch.float32, torch.int64):
        record = to_record({"image": image(dtype)}, APART, position=4)
        assert np.array_equal(record.image, expected) and record.image.dtype == np.uint8
        assert (record.size, record.image_id, record.annotations) == (SIZE, 4, ())
        assert record.vocabulary == APART.vocabulary
    turned = to_record({"image": image().flip(0), "file_name": "a.png"}, APART, image_format="BGR")
    assert np.array_equal(turned.image, expected) and turned.image_id == "a.png"


def test_the_size_of_the_result():
    assert output_size({"image": image()}) == SIZE
    assert output_size({"image": image(), "height": 30, "width": 40}) == (30, 40)


def test_instances_with_boxes_only():
    truth = Detected(SIZE, gt_boxes=Boxes(torch.tensor([[1.5, 2, 9, 8]])), gt_classes=torch.tensor([1]))
    record = to_record({"image": image(), "instances": truth}, APART, target="instance")
    assert found(record) == [(1, (1.5, 2.0, 9.0, 8.0), True, False)]
    assert record.annotations[0].segmentation is None


@pytest.mark.parametrize("wrap", [BitMasks, lambda masks: masks])
@pytest.mark.parametrize("boxes", [True, False])
def test_instances_with_bitmaps(wrap, boxes: bool):
    masks = bitmaps((1, 2, 5, 6), (7, 0, 16, 12))
    truth = Detected(SIZE, gt_masks=wrap(masks), gt_classes=torch.tensor([1, 0]))
    if boxes:
        truth.gt_boxes = Boxes(torch.zeros(2, 4))
    record = to_record({"image": image(), "instances": truth}, APART, target="instance")
    assert found(record) == [(1, (1, 2, 5, 6), True, False), (0, (7, 0, 16, 12), True, False)]
    assert np.array_equal(np.stack(masks_of(record)), masks.numpy())


def test_instances_with_polygons():
    polygons = PolygonMasks([[np.array([1.0, 2, 5, 2, 5, 6, 1, 6])]])
    truth = Detected(SIZE, gt_masks=polygons, gt_classes=torch.tensor([0]))
    with pytest.raises(ValueError, match="instances need gt_boxes, or gt_masks that are bitmaps"):
        to_record({"image": image(), "instances": truth}, APART, target="instance")
    truth.gt_boxes = Boxes(torch.tensor([[1.0, 2, 5, 6]]))
    record = to_record({"image": image(), "instances": truth}, APART, target="instance")
    assert found(record) == [(0, (1, 2, 5, 6), True, False)]
    assert masks_of(record)[0][3:6, 2:5].all() and masks_of(record)[0].sum() == 16


def test_no_instances_and_empty_masks():
    empty = Detected(SIZE, gt_boxes=Boxes(torch.zeros(0, 4)), gt_classes=torch.zeros(0, dtype=torch.int64))
    assert found(to_record({"image": image(), "instances": empty}, APART, target="instance")) == []
    blank = Detected(SIZE, gt_masks=BitMasks(bitmaps((0, 0, 0, 0))), gt_classes=torch.tensor([0]))
    assert found(to_record({"image": image(), "instances": blank}, APART, target="instance")) == []


def semantic_map() -> torch.Tensor:
    values = torch.full(SIZE, 255)
    values[:4] = 1
    values[6:, :8] = 0
    return values


def test_stuff_of_a_semantic_map_joins_the_things():
    truth = Detected(SIZE, gt_masks=BitMasks(bitmaps((0, 6, 8, 12))), gt_classes=torch.tensor([1]))
    entry = {"image": image(), "instances": truth, "sem_seg": semantic_map()}
    assert found(to_record(entry, APART, target="panoptic")) == [
        (1, (0, 6, 8, 12), True, False),
        (2, (0, 0, 16, 4), False, False),
    ]


def test_stuff_among_the_instances_is_not_told_twice():
    truth = Detected(SIZE, gt_masks=bitmaps((0, 6, 8, 12), (0, 0, 9, 4)), gt_classes=torch.tensor([0, 2]))
    values = torch.where(semantic_map() == 1, 2, semantic_map())
    entry = {"image": image(), "instances": truth, "sem_seg": values}
    assert found(to_record(entry, TOGETHER, target="panoptic")) == [
        (0, (0, 6, 8, 12), True, False),
        (2, (0, 0, 9, 4), False, False),
    ]
    # A semantic task reads the map alone, with things as one region each.
    assert found(to_record(entry, TOGETHER, target="semantic")) == [
        (0, (0, 6, 8, 12), True, False),
        (2, (0, 0, 16, 4), False, False),
    ]


def test_a_panoptic_map():
    values = torch.zeros(SIZE, dtype=torch.int32)
    values[:4], values[6:, :8], values[6:, 8:] = 10, 20, 30
    segments = [
        {"id": 10, "category_id": 1, "isthing": False},
        {"id": 20, "category_id": 1, "isthing": True},
        {"id": 30, "category_id": 0, "isthing": True, "iscrowd": 1},
        {"id": 99, "category_id": 0, "isthing": True},
    ]
    record = to_record({"image": image(), "panoptic_seg": (values, segments)}, APART, target="panoptic")
    assert found(record) == [
        (2, (0, 0, 16, 4), False, False),
        (1, (0, 6, 8, 12), True, False),
        (0, (8, 6, 16, 12), True, True),
    ]
    assert np.array_equal(masks_of(record)[0], values.numpy() == 10)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file_name": "a.png", "img": 1}, "image a.png: an input needs the key 'image', got file_name, img"),
        ({"image": torch.zeros(1, 4, 4)}, r"image 0: 'image' must be a tensor \(3, H, W\), got \(1, 4, 4\)"),
        ({"image": image()}, "image 0: training needs 'panoptic_seg', 'instances' or 'sem_seg'"),
        (
            {"image": image(), "sem_seg": torch.full(SIZE, 2)},
            "image 0: sem_seg holds 2, the dataset has 2 classes",
        ),
        (
            {"image": image(), "sem_seg": torch.zeros(3, 4)},
            r"image 0: sem_seg has size \(3, 4\), the image \(12, 16\)",
        ),
        (
            {
                "image": image(),
                "instances": Detected(SIZE, gt_boxes=Boxes([[0, 0, 1, 1]]), gt_classes=torch.tensor([5])),
            },
            r"image 0: gt_classes holds class 5, the dataset has \[0, 1\]",
        ),
        (
            {
                "image": image(),
                "instances": Detected(SIZE, gt_masks=torch.zeros(1, 2, 2), gt_classes=torch.tensor([1])),
            },
            r"image 0: gt_masks has size \(2, 2\), the image \(12, 16\)",
        ),
    ],
)
def test_inputs_that_do_not_fit(entry: dict, message: str):
    with pytest.raises(ValueError, match=message):
        to_record(entry, APART, target="panoptic")


def test_an_unknown_order_of_channels():
    with pytest.raises(ValueError, match="unknown image format 'RBG'.*'RGB'"):
        to_record({"image": image()}, APART, image_format="RBG")


def instances(*, masks: bool) -> Perception:
    boxes = torch.tensor([[1.0, 2, 5, 6], [7, 0, 16, 12]])
    full = bitmaps((1, 2, 5, 6), (7, 0, 16, 12)) if masks else None
    kept = Instances(boxes, torch.tensor([0.9, 0.4]), ["ring", "star"], torch.tensor([1, 0]), full)
    return Perception(SIZE, "instance", ["star", "ring", "sky"], instances=kept)


@pytest.mark.parametrize("masks", [True, False])
def test_instances_come_out(detectron2, masks: bool):
    answer = instances(masks=masks)
    out = answer.to_detectron2()
    assert set(out) == {"instances"}
    result = out["instances"]
    assert isinstance(result, detectron2.Instances) and isinstance(result.pred_boxes, detectron2.Boxes)
    assert result.image_size == SIZE and len(result) == 2
    assert torch.equal(result.pred_boxes.tensor, answer.instances.boxes)
    assert torch.equal(result.scores, answer.instances.scores) and result.pred_classes.tolist() == [1, 0]
    assert result.has("pred_masks") == masks
    if masks:
        assert torch.equal(result.pred_masks, answer.instances.masks)
    other = DatasetNames(APART.vocabulary, (4, 8, -1), (0, 0, 1), channels=2)
    assert to_detectron2(answer, other)["instances"].pred_classes.tolist() == [8, 4]


def test_no_instances_come_out(detectron2):
    answer = instances(masks=True)
    answer.instances = answer.instances.keep(torch.zeros(2, dtype=torch.bool))
    result = answer.to_detectron2()["instances"]
    assert len(result) == 0 and result.pred_masks.shape == (0, *SIZE) and result.pred_boxes.tensor.shape == (0, 4)


def test_maps_come_out_and_go_in_again():
    values = torch.zeros(SIZE, dtype=torch.int32)
    values[:4], values[6:, :8] = 1, 2
    segments = [SegmentInfo(1, "sky", 2, False, 0.8, 64), SegmentInfo(2, "ring", 1, True, 0.9, 48)]
    answer = Perception(SIZE, "panoptic", list(APART.vocabulary.names), panoptic=PanopticMap(values, segments))
    out = to_detectron2(answer, APART)
    assert set(out) == {"panoptic_seg"}
    segment_map, described = out["panoptic_seg"]
    assert torch.equal(segment_map, values)
    assert described == [
        {"id": 1, "category_id": 1, "isthing": False, "score": 0.8, "area": 64},
        {"id": 2, "category_id": 1, "isthing": True, "score": 0.9, "area": 48},
    ]
    again = to_record({"image": image(), **out}, APART, target="panoptic")
    assert [annotation.label for annotation in again.annotations] == [2, 1]


def test_a_semantic_map_comes_out_channel_by_channel():
    values = torch.tensor([[0, 1, 2], [-1, 2, 0]])
    answer = Perception((2, 3), "semantic", ["star", "ring", "sky"], semantic=SemanticMap(values, []))
    scores = to_detectron2(answer, APART)["sem_seg"]
    assert scores.dtype == torch.float32 and scores.shape == (2, 2, 3)
    assert scores[0].tolist() == [[1, 1, 0], [0, 0, 1]] and scores[1].tolist() == [[0, 0, 1], [0, 1, 0]]
    plain = answer.to_detectron2()["sem_seg"]
    assert torch.equal(plain.argmax(0)[values >= 0], values[values >= 0]) and plain.sum() == 5


def test_what_cannot_come_out(detectron2):
    with pytest.raises(ValueError, match="a query of 3 names got ids of 1"):
        to_detectron2(instances(masks=False), DatasetNames.of(["star"]))
    with pytest.raises(ValueError, match="task 'panoptic' holds nothing that detectron2 has a format for"):
        Perception(SIZE, "panoptic", ["star"]).to_detectron2()


def test_without_detectron2_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "detectron2", None)
    monkeypatch.delitem(sys.modules, "detectron2.structures", raising=False)
    with pytest.raises(ImportError, match=r"to_detectron2\(\) needs the 'detectron2' package.*no package index: .*git"):
        instances(masks=False).to_detectron2()
