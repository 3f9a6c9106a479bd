"""From records to samples: targets, prompts, repeatable draws."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mvplm.data.images import image_size, load_image
from mvplm.data.mapper import SampleMapper, build_target, collect_phrases
from mvplm.data.unify import NameSampling, UnifySettings
from mvplm.data.windows import Shown
from mvplm.structures import Annotation, BoxFormat, Record, Vocabulary, convert_boxes
from mvplm.structures.masks import encode_mask


def make_mapper(tokenizer, task="panoptic", training=True, **options):
    options = {"image_size": 40, "num_image_tokens": 4, **options}
    return SampleMapper(tokenizer, task=task, training=training, **options)


# Golden G12.
def test_golden_box_in_the_unpadded_frame():
    target = build_target([(Annotation((64, 48, 320, 240)), 5)], (480, 640), image_size=192)
    assert target.labels.tolist() == [5]
    torch.testing.assert_close(target.boxes, torch.tensor([[0.3, 0.3, 0.4, 0.4]]))
    assert target.masks is None and target.has_mask.tolist() == [False]


@pytest.mark.parametrize("turn", [1, 6, 8, 3])
@pytest.mark.parametrize("size", [(1, 5), (5, 1), (37, 53)])
def test_g60_boxes_round_trip_on_thin_odd_and_turned_pictures(small_tokenizer, tmp_path, size, turn):
    """The box of a bright spot, measured on the upright picture, survives the way to the network and back."""
    upright = np.zeros((*size, 3), np.uint8)
    top, left = size[0] // 2, size[1] // 2
    upright[top : top + 1 + size[0] // 4, left : left + 1 + size[1] // 4] = 255
    stored = np.rot90(upright, {1: 0, 6: 1, 8: -1, 3: 2}[turn])
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "spot.png", exif=exif)
    found = image_size(tmp_path / "spot.png")
    assert found == size and (load_image(tmp_path / "spot.png") == upright).all()
    box = (float(left), float(top), float(left + 1 + size[1] // 4), float(top + 1 + size[0] // 4))
    record = Record(
        0, tmp_path / "spot.png", found, vocabulary=Vocabulary(("spot",)), annotations=(Annotation(box, 0),)
    )
    sample = make_mapper(small_tokenizer, "detection", training=False)(record)
    back = convert_boxes(sample.target.boxes, BoxFormat.CXCYWH_NORM, target=BoxFormat.XYXY_ABS, size=size)
    assert (back - torch.tensor([box])).abs().max() <= 0.5
    bright = (sample.image[0] > 127).nonzero().float()
    middle = (bright.mean(0) + 0.5).flip(0) / torch.tensor([sample.image.shape[2], sample.image.shape[1]])
    assert (middle - sample.target.boxes[0, :2]).abs().max() < 0.15


def test_box_of_a_mask_is_the_masks_own():
    mask = np.zeros((10, 20), bool)
    mask[2:4, 5:15] = True
    target = build_target([(Annotation((0, 0, 1, 1), segmentation=encode_mask(mask)), 0)], (10, 20), image_size=20)
    torch.testing.assert_close(target.boxes, torch.tensor([[0.5, 0.3, 0.5, 0.2]]))
    assert (target.masks[0].numpy() == mask).all()


def test_targets_without_area_are_dropped_and_boxes_clipped():
    labelled = [
        (Annotation((3, 3, 3, 9)), 0),
        (Annotation((-5, 0, 5, 10)), 1),
        (Annotation((30, 0, 40, 5)), 2),
        (Annotation((0, 0, 9, 9), segmentation=encode_mask(np.zeros((10, 20), bool))), 3),
    ]
    target = build_target(labelled, (10, 20), image_size=20)
    assert target.labels.tolist() == [1]
    torch.testing.assert_close(target.boxes, torch.tensor([[0.125, 0.5, 0.25, 1.0]]))


def test_mask_that_vanishes_leaves_its_box():
    tiny, large = np.zeros((100, 100), bool), np.ones((100, 100), bool)
    tiny[1, 1] = True
    labelled = [(Annotation((0, 0, 1, 1), segmentation=encode_mask(mask)), 0) for mask in (tiny, large)]
    labelled.append((Annotation((0, 0, 50, 50)), 0))
    target = build_target(labelled, (100, 100), image_size=10)
    assert target.has_mask.tolist() == [False, True, False]
    assert target.masks.shape == (3, 10, 10) and target.masks[1].all() and not target.masks[[0, 2]].any()
    torch.testing.assert_close(target.boxes[0], torch.tensor([0.015, 0.015, 0.01, 0.01]))


def test_no_annotations_give_an_empty_target():
    target = build_target([], (10, 20), image_size=20)
    assert len(target) == 0 and target.boxes.shape == (0, 4) and target.masks is None


def test_sample_of_each_family(small_tokenizer, small_record):
    record = small_record()
    word = make_mapper(small_tokenizer)(record)
    assert word.family == "word" and word.use_stuff and word.image.shape == (3, 30, 40)
    assert word.target.masks.shape == (2, 30, 40)
    named = {word.names[label]: box for label, box in zip(word.target.labels.tolist(), word.target.boxes, strict=True)}
    torch.testing.assert_close(named["star"], torch.tensor([0.25, 35 / 60, 0.25, 0.5]))
    sentence = make_mapper(small_tokenizer, "gres")(record, expression=1)
    assert sentence.names == ("a green ring",) and len(sentence.target) == 0
    caption = make_mapper(small_tokenizer, "caption")(record)
    assert caption.family == "caption" and caption.target is None and caption.names == ()


def test_draws_depend_on_seed_epoch_and_index_only(small_tokenizer, small_record):
    record, mapper = small_record(), make_mapper(small_tokenizer, seed=3)
    first = [mapper(record, epoch=epoch, index=7).prompt.input_ids.tolist() for epoch in range(12)]
    again = [mapper(record, epoch=epoch, index=7).prompt.input_ids.tolist() for epoch in reversed(range(12))]
    assert first == again[::-1] and len({tuple(ids) for ids in first}) > 2


def test_evaluation_keeps_the_order_and_may_skip_targets(small_tokenizer, small_record):
    record = small_record()
    sample = make_mapper(small_tokenizer, training=False, shown=Shown(target=False))(record)
    assert sample.names == record.vocabulary.names and sample.target is None
    assert sample.prompt.summary_index is None
    closed = make_mapper(small_tokenizer, training=False, settings=UnifySettings(open_prompt=False))(record)
    assert closed.prompt.summary_index is not None and len(closed.target) == 2


@pytest.mark.parametrize("kind", ["caption", "none", "existing_objects"])
def test_lists_are_cut_in_training_where_the_prompt_would_grow_too_long(small_tokenizer, small_record, kind: str):
    record = small_record()
    names = (*record.vocabulary.names, *(f"ring number {i}" for i in range(40)))
    record = replace(record, vocabulary=Vocabulary(names, (True,) * len(names)))
    settings = UnifySettings(names=NameSampling(full_probability=1.0), response_kind=kind)
    long = make_mapper(small_tokenizer, settings=settings)(record)
    assert len(long.names) == len(names)
    length = len(long.prompt.input_ids)
    exact = make_mapper(small_tokenizer, settings=settings, max_length=length)(record)
    assert exact.prompt.input_ids.equal(long.prompt.input_ids)
    cut = make_mapper(small_tokenizer, settings=settings, max_length=length - 60)(record)
    assert length - 75 < len(cut.prompt.input_ids) <= length - 60 and len(cut.target) == 2
    parts = make_mapper(small_tokenizer, training=False, max_length=length - 60)(record)
    prompts = [parts.prompt, *parts.further]
    assert len(prompts) > 1 and max(map(len, prompts)) <= length - 60 and parts.names == names
    there = torch.stack([prompt.name_spans[:, 1] > 0 for prompt in prompts])
    assert bool((there.sum(0) == 1).all())


def test_names_that_wait_for_another_visit_are_told_once(small_tokenizer, small_record, caplog):
    longest = max(len(small_tokenizer.encode(f" {name}")) + 1 for name in small_record().vocabulary.names)
    mapper = make_mapper(small_tokenizer, settings=UnifySettings(names=NameSampling(max_tokens=longest)))
    with caplog.at_level(logging.INFO):
        samples = [mapper(small_record(), epoch=epoch) for epoch in range(8)]
    assert {(len(sample.names), len(sample.target)) for sample in samples} == {(1, 1)}
    assert len(caplog.records) == 1 and "wait for other visits" in caplog.text


def test_a_picture_of_another_size_is_refused(small_tokenizer, small_record):
    record = replace(small_record(), image=np.zeros((80, 60, 3), np.uint8), image_id="turned")
    with pytest.raises(ValueError, match=r"turned: the array has size \(80, 60\), the record says \(60, 80\)"):
        make_mapper(small_tokenizer)(record)


def test_phrases_of_a_dataset(small_record):
    assert collect_phrases([small_record(i) for i in range(5)], limit=2) == ("left star",)
