"""Boxes: goldens, round trips and errors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvplm.structures.boxes import (
    BoxFormat,
    box_iou,
    clip_boxes,
    convert_boxes,
    generalized_box_iou,
    masks_to_boxes,
    padded_share,
)


# Golden G27.
def test_generalised_iou_goldens():
    first = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.2, 0.2]])
    second = torch.tensor([[0.5, 0.5, 1.5, 1.5], [0.8, 0.8, 1, 1]])
    values = generalized_box_iou(first, second).diagonal()
    assert torch.allclose(values, torch.tensor([-0.079365, -0.92]), atol=1e-5, rtol=0)


# Golden G12.
def test_valid_frame_golden():
    box = torch.tensor([[64.0, 48, 320, 240]])
    normalised = convert_boxes(box, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM, size=(480, 640))
    assert torch.allclose(normalised, torch.tensor([[0.3, 0.3, 0.4, 0.4]]))


@given(
    st.sampled_from(list(BoxFormat)),
    st.sampled_from(list(BoxFormat)),
    st.lists(st.floats(0, 50), min_size=4, max_size=4),
    st.tuples(st.integers(1, 700), st.integers(1, 700)),
    st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
)
def test_round_trip(source, target, numbers, size, share):
    corner = torch.tensor([numbers[0], numbers[1], numbers[0] + numbers[2], numbers[1] + numbers[3]]).double()
    boxes = convert_boxes(corner[None], BoxFormat.XYXY_ABS, target=source, size=size, share=share)
    there = convert_boxes(boxes, source, target=target, size=size, share=share)
    back = convert_boxes(there, target, target=source, size=size, share=share)
    assert torch.allclose(back, boxes, atol=1e-9)


def test_errors_and_no_mutation():
    boxes = torch.tensor([[0.0, 0, 1, 1]])
    with pytest.raises(ValueError, match="size"):
        convert_boxes(boxes, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM)
    with pytest.raises(ValueError, match="floating"):
        convert_boxes(boxes.long(), BoxFormat.XYXY_ABS, target=BoxFormat.XYWH_ABS)
    with pytest.raises(ValueError, match="dimension of 4"):
        convert_boxes(torch.zeros(2, 3), BoxFormat.XYXY_ABS, target=BoxFormat.XYWH_ABS)
    clip_boxes(boxes * 100, (5, 5))
    assert boxes.tolist() == [[0.0, 0, 1, 1]]


def test_iou_of_identical_and_disjoint():
    boxes = torch.tensor([[0.0, 0, 4, 4], [10, 10, 12, 12]])
    assert torch.allclose(box_iou(boxes, boxes), torch.eye(2), atol=1e-5)


def test_masks_to_boxes_on_pixel_edges_and_empty():
    masks = torch.zeros(2, 6, 8, dtype=torch.bool)
    masks[0, 2:4, 1:7] = True
    assert masks_to_boxes(masks).tolist() == [[1, 2, 7, 4], [0, 0, 0, 0]]
    assert masks_to_boxes(torch.zeros(0, 6, 8, dtype=torch.bool)).shape == (0, 4)


def test_g12_one_box_in_both_frames():
    box, size, share = torch.tensor([[64.0, 48, 320, 240]]), (480, 640), padded_share((768, 1024), (1024, 1024))
    for target, numbers in (
        (BoxFormat.CXCYWH_NORM, [0.3, 0.3, 0.4, 0.4]),
        (BoxFormat.CXCYWH_PADDED, [0.3, 0.225, 0.4, 0.3]),
    ):
        framed = convert_boxes(box, BoxFormat.XYXY_ABS, target=target, size=size, share=share)
        torch.testing.assert_close(framed, torch.tensor([numbers]))
        back = convert_boxes(framed, target, target=BoxFormat.XYXY_ABS, size=size, share=share)
        torch.testing.assert_close(back, box)
    with pytest.raises(ValueError, match="cxcywh_padded to cxcywh_norm needs share"):
        convert_boxes(box, BoxFormat.CXCYWH_PADDED, target=BoxFormat.CXCYWH_NORM)
