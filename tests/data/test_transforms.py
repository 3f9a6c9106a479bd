"""Resizing pictures, masks and boxes; panoptic pictures."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from mvplm.data.panoptic_png import ids_to_rgb, read_panoptic, rgb_to_ids, write_panoptic
from mvplm.data.transforms import nearest_indices, resize_image, resize_mask, resized_size
from mvplm.structures import BoxFormat, convert_boxes


# Golden G13.
@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (768, 1024)), ((500, 333), (1024, 682)), ((800, 1333), (615, 1024)), ((1, 1), (1024, 1024))],
)
def test_golden_sizes(size, expected):
    assert resized_size(size, 1024) == expected


def test_a_strip_keeps_a_row():
    assert resized_size((1, 5000), 192) == (1, 192)
    with pytest.raises(ValueError, match="positive"):
        resized_size((0, 4), 192)


@pytest.mark.parametrize("size", [(40, 60), (400, 300), (7, 400)])
def test_resize_is_that_of_pil(size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    height, width = resized_size(size, 128)
    expected = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    found = resize_image(image, 128).permute(1, 2, 0).numpy()
    assert found.shape == expected.shape
    assert abs(found.astype(int) - expected).max() <= 1


def test_resize_copies():
    image = np.zeros((4, 4, 3), np.uint8)
    resize_image(image, 4).fill_(9)
    assert not image.any()


def test_masks_take_the_nearest_centre():
    mask = np.arange(5)[None] == 2
    wide = resize_mask(mask, (1, 11))
    naive = [int((i + 0.5) * 5 / 11) == 2 for i in range(11)]
    assert wide[0].tolist() == naive
    assert nearest_indices(4, 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="boolean mask"):
        resize_mask(mask.astype(np.uint8), (1, 11))


@pytest.mark.parametrize("order", ["C", "F"])
def test_masks_of_any_memory_order_become_new_arrays(order):
    mask = np.asarray(np.random.default_rng(0).random((7, 9)) > 0.5, order=order)
    found = resize_mask(mask, (13, 4))
    assert found.tolist() == [
        [bool(mask[int((y + 0.5) * 7 / 13), int((x + 0.5) * 9 / 4)]) for x in range(4)] for y in range(13)
    ]
    resize_mask(mask, (7, 9))[:] = True
    assert not mask.all()


# Golden G60.
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (37, 53), (480, 640)])
def test_boxes_come_back_from_the_unpadded_frame(size):
    height, width = size
    boxes = torch.tensor([[0.0, 0.0, width, height], [width / 3, height / 7, width / 2, height / 2]])
    norm = convert_boxes(boxes, BoxFormat.XYXY_ABS, target=BoxFormat.CXCYWH_NORM, size=size)
    back = convert_boxes(norm, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_ABS, size=size)
    assert (back - boxes).abs().max() <= 0.5


@given(arrays.arrays(np.int32, (3, 4), elements=st.integers(0, 256**3 - 1)))
def test_panoptic_ids_round_trip(ids):
    assert (rgb_to_ids(ids_to_rgb(ids)) == ids).all()


def test_panoptic_file(tmp_path):
    ids = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]])
    write_panoptic(ids, tmp_path / "map.png")
    assert (read_panoptic(tmp_path / "map.png", (2, 3)) == ids).all()
    with pytest.raises(ValueError, match=r"map.png has size \(2, 3\), expected \(3, 3\)"):
        read_panoptic(tmp_path / "map.png", (3, 3))
    with pytest.raises(ValueError, match="16777216"):
        ids_to_rgb(np.array([[256**3]]))
