"""Looks at a picture: what is cut out, what is mirrored, and what is left of the objects."""

import numpy as np
import pytest
import torch

from mvplm.data.mapper import SampleMapper, build_target
from mvplm.data.windows import Shown, Window, window_of
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import encode_mask


def test_the_first_looks_are_the_whole_and_its_mirror_image() -> None:
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert (window_of((4, 6), 0, seed="a").cut(image) == image).all()
    assert (window_of((4, 6), 1, seed="a").cut(image) == image[:, ::-1]).all()


def test_windows_lie_inside_are_fixed_and_differ() -> None:
    seen = set()
    for number in range(2, 12):
        window = window_of((300, 400), number, seed="a")
        assert window == window_of((300, 400), number, seed="a")
        assert (
            window.top >= 0
            and window.left >= 0
            and window.top + window.height <= 300
            and window.left + window.width <= 400
        )
        assert window.height >= 0.4 * 0.8 * 300 - 1 and window.width >= 0.4 * 0.8 * 400 - 1
        assert window.mirrored == (number % 2 == 1)
        seen.add(window)
    assert len(seen) == 10
    assert window_of((300, 400), 3, seed="b") not in seen
    assert window_of((1, 1), 5, seed="a").size == (1, 1)


@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_masks_and_pictures_move_together(mirrored: bool) -> None:
    mask = np.zeros((20, 30), bool)
    mask[6:12, 8:20] = True
    window = Window(4, 5, 12, 20, mirrored)
    shown = window.cut(mask)
    assert (shown == window.cut(np.repeat(mask[..., None], 3, 2))[..., 0]).all()
    rows, columns = shown.any(1).nonzero()[0], shown.any(0).nonzero()[0]
    measured = [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
    assert window.boxes(torch.tensor([[8.0, 6.0, 20.0, 12.0]])).tolist() == [measured]


def test_objects_of_which_little_is_left_are_dropped() -> None:
    masks = [np.zeros((10, 20), bool) for _ in range(3)]
    masks[0][0:10, 0:10] = True
    masks[1][0:10, 9:20] = True
    masks[2][0:5, 0:2] = True
    labelled = [(Annotation((0, 0, 1, 1), segmentation=encode_mask(mask)), k) for k, mask in enumerate(masks)]
    labelled += [(Annotation((8, 0, 20, 10)), 3), (Annotation((4, 4, 8, 8)), 4)]
    target = build_target(labelled, (10, 20), image_size=10, window=Window(0, 0, 10, 10, False))
    assert target.labels.tolist() == [0, 2, 3, 4]
    torch.testing.assert_close(target.boxes[0], torch.tensor([0.5, 0.5, 1.0, 1.0]))
    torch.testing.assert_close(target.boxes[2], torch.tensor([0.9, 0.5, 0.2, 1.0]))
    assert target.has_mask.tolist() == [True, True, False, False] and target.masks.shape == (4, 10, 10)


def make_mapper(tokenizer, task: str, *, training: bool = True, **options) -> SampleMapper:
    return SampleMapper(tokenizer, task=task, training=training, image_size=40, num_image_tokens=4, **options)


def a_record() -> Record:
    mask = np.zeros((30, 40), bool)
    mask[5:20, 10:35] = True
    image = np.zeros((30, 40, 3), np.uint8)
    image[mask] = 255
    spot = Annotation((10, 5, 35, 20), 0, segmentation=encode_mask(mask))
    return Record(7, image, (30, 40), vocabulary=Vocabulary(("spot",)), annotations=(spot,))


def test_a_mapper_draws_its_looks_in_training_only_and_the_target_fits_the_picture(small_tokenizer) -> None:
    record = a_record()
    mapper = make_mapper(small_tokenizer, "instance", shown=Shown(windows=6))
    samples = [mapper(record, epoch=epoch) for epoch in range(20)]
    assert len({sample.image.numpy().tobytes() for sample in samples}) in range(3, 7)
    for sample in samples:
        assert sample.image.shape[1:] == sample.target.masks.shape[1:]
        bright = sample.image[0] > 127
        assert (bright & sample.target.masks[0]).sum() / (bright | sample.target.masks[0]).sum() > 0.9
    plain = make_mapper(small_tokenizer, "instance", training=False, shown=Shown(windows=6))(record, epoch=3)
    assert plain.original_size == (30, 40)


def test_without_masks_the_boxes_are_still_the_masks(small_tokenizer) -> None:
    record = a_record()
    whole = make_mapper(small_tokenizer, "instance")(record).target
    boxes = make_mapper(small_tokenizer, "instance", shown=Shown(masks=False))(record).target
    assert boxes.masks is None and not boxes.has_mask.any() and torch.equal(boxes.boxes, whole.boxes)
