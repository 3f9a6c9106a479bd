"""Padding samples into batches."""

import numpy as np
import pytest
import torch

from mvplm.data.collate import IGNORED, collate
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.prompts import RELEASED_CONTROLS, PromptStyle, PromptTokenizer
from mvplm.structures import BoxFormat

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)


def batch_of(samples, **changes):
    options = {"pad_id": 1, "num_image_tokens": 4, "image_size": 40, "mean": MEAN, "std": STD, **changes}
    return collate(samples, **options)


@pytest.fixture
def samples(small_tokenizer, small_record):
    mapper = SampleMapper(small_tokenizer, image_size=40, num_image_tokens=4, task="panoptic", training=True)
    return [mapper(small_record(i + 1), index=i) for i in range(6)]


def test_pictures_are_normalised_and_padding_is_zero(samples):
    batch = batch_of(samples)
    assert batch.images.shape == (6, 3, 40, 40) and batch.images.dtype == torch.float32
    for row, sample in enumerate(samples):
        expected = (sample.image.numpy().astype(np.float32) - np.float32(MEAN)[:, None, None]) / np.float32(STD)[
            :, None, None
        ]
        np.testing.assert_allclose(batch.images[row, :, :30, :40], expected, rtol=1e-6)
        assert not batch.images[row, :, 30:].any()
        assert batch.valid[row, :30].all() and not batch.valid[row, 30:].any()
    assert batch.valid_sizes == [(30, 40)] * 6 and batch.original_sizes == [(60, 80)] * 6


def test_padding_of_any_level_and_boxes_of_the_padded_frame(samples):
    plain, padded = batch_of(samples), batch_of(samples, pad_value=128.0, box_format=BoxFormat.CXCYWH_PADDED)
    expected = (128 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(padded.images[:, :, 30:], expected[:, None, None].expand(6, 3, 10, 40))
    assert torch.equal(padded.images[:, :, :30], plain.images[:, :, :30])
    assert (plain.box_format, padded.box_format) == (BoxFormat.CXCYWH_NORM, BoxFormat.CXCYWH_PADDED)
    for one, two, sample in zip(plain.targets, padded.targets, samples, strict=True):
        assert torch.equal(one.boxes, sample.target.boxes)
        torch.testing.assert_close(two.boxes, one.boxes * torch.tensor([1, 0.75, 1, 0.75]))


def test_zeros_and_the_name_for_no_object_have_their_places(small_tokenizer, small_record):
    tokenizer = PromptTokenizer(small_tokenizer.tokenizer, controls=RELEASED_CONTROLS)
    style = PromptStyle("released", suffix=True, no_object=True)
    options = {"image_size": 40, "num_image_tokens": 4, "task": "instance", "training": True}
    mapper = SampleMapper(tokenizer, settings=UnifySettings(style=style, response_kind="trailing"), **options)
    mixed = [mapper(small_record(i), index=i) for i in range(8)]
    batch = batch_of(mixed, pad_id=tokenizer.pad_id)
    assert batch.zero_mask.sum(1).tolist() == [100] * 8
    for row, sample in enumerate(mixed):
        start, stop = sample.prompt.zero_span
        assert batch.zero_mask[row, start:stop].all() and (batch.labels[row, start:stop] == IGNORED).all()
        assert batch.no_object_spans[row].tolist() == list(sample.prompt.no_object_span)
        assert "background" not in sample.names and len(sample.names) == len(sample.prompt.name_spans)
        first, last = sample.prompt.no_object_span
        assert tokenizer.decode(sample.prompt.input_ids[first:last].tolist()) == "background"
        assert (batch.summary_index == -1).all()
    places = {int((s.prompt.name_spans[:, 0] < s.prompt.no_object_span[0]).sum()) - len(s.names) for s in mixed}
    assert len(places) > 1, "the name for no object always stands at the same place"
    plain = SampleMapper(tokenizer, **options)(small_record(0), index=0)
    with pytest.raises(ValueError, match="all samples of a batch or none list a name for no object"):
        batch_of([mixed[0], plain])


def test_text_and_supervision_match_a_plain_loop(samples):
    batch = batch_of(samples)
    length = batch.input_ids.shape[1]
    positions, following = [], []
    for row, sample in enumerate(samples):
        size = len(sample.prompt)
        assert batch.input_ids[row, :size].equal(sample.prompt.input_ids)
        assert (batch.input_ids[row, size:] == 1).all() and (batch.labels[row, size:] == IGNORED).all()
        assert batch.attention_mask[row].sum() == size and batch.attention_mask[row, :size].all()
        for t in range(length - 1):
            if batch.labels[row, t + 1] != IGNORED:
                positions.append(row * length + t)
                following.append(int(batch.labels[row, t + 1]))
    assert batch.supervised.tolist() == positions and batch.supervised_labels.tolist() == following
    assert len({len(sample.prompt) for sample in samples}) > 1


def test_names_are_padded(samples):
    assert len({len(sample.names) for sample in samples}) > 1
    batch = batch_of(samples)
    for row, sample in enumerate(samples):
        count = len(sample.names)
        assert batch.name_mask[row].tolist() == [place < count for place in range(batch.name_mask.shape[1])]
        assert batch.name_spans[row, :count].equal(sample.prompt.name_spans)
        assert batch.isthing[row, :count].tolist() == list(sample.isthing) and not batch.isthing[row, count:].any()
        assert batch.names[row] == sample.names
        start = batch.image_starts[row]
        assert (start, start + 4) == sample.prompt.image_span
    assert batch.max_targets == 2 and len(batch.targets) == 6


def test_captions_have_no_names_and_no_targets(small_tokenizer, small_record):
    mapper = SampleMapper(small_tokenizer, image_size=40, num_image_tokens=4, task="caption", training=True)
    batch = batch_of([mapper(small_record(i), index=i) for i in range(2)])
    assert batch.name_spans.shape == (2, 0, 2) and batch.name_mask.shape == (2, 0)
    assert batch.targets is None and batch.max_targets == 0 and batch.summary_index.tolist() == [-1, -1]


def test_wrong_batches_are_refused(samples, small_tokenizer, small_record):
    other = SampleMapper(small_tokenizer, image_size=40, num_image_tokens=4, task="gres", training=True)
    with pytest.raises(ValueError, match="one .task, family, use_stuff."):
        batch_of([samples[0], other(small_record())])
    with pytest.raises(ValueError, match="leaves 4 places for visual tokens, expected 9"):
        batch_of(samples, num_image_tokens=9)
    with pytest.raises(ValueError, match="does not fit the frame of 32"):
        batch_of(samples, image_size=32)
    with pytest.raises(ValueError, match="at least one"):
        batch_of([])
