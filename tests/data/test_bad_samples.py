"""Unreadable pictures and broken annotations: another record stands in, the log names them, too many end the run."""

import logging
from dataclasses import replace

import pytest

from mvplm.data.bad_samples import BadSample, BadSampleCounter
from mvplm.data.mapper import SampleMapper
from mvplm.data.mixing import MixSource, TaskMixture
from mvplm.structures import Annotation


class Records:
    """Records of which some have a picture that is none, a picture that is gone, or an annotation that is broken."""

    def __init__(self, record, folder):
        (folder / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a picture")
        good = [record(i) for i in range(40)]
        self.records = [
            replace(good[i], image=str(folder / "torn.jpg")) if i == 3 else
            replace(good[i], image=str(folder / "gone.jpg")) if i == 8 else good[i]
            for i in range(40)
        ]  # fmt: skip

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        if index == 20:
            raise KeyError("bbox")
        record = self.records[index]
        if index == 11:
            return replace(record, annotations=(*record.annotations, Annotation((0, 0, 9, 9), 99)))
        return record


@pytest.fixture
def mixture(small_tokenizer, small_record, tmp_path):
    records = Records(small_record, tmp_path)
    mapper = SampleMapper(small_tokenizer, image_size=40, num_image_tokens=4, task="panoptic", training=True)

    def build(share, seed=4):
        return TaskMixture([MixSource("photos", records, mapper, 1, 4)], seed=seed, max_bad_share=share)

    return build


def ids(mixture, workers=0, steps=10):
    batches = mixture.batches(0, collate=lambda samples: [s.image_id for s in samples], num_workers=workers)
    found = [batch for _, batch in zip(range(steps), (batch for _, batch in batches), strict=False)]
    return found


def test_bad_records_are_replaced_named_and_counted(mixture, caplog):
    first = mixture(0.1)
    with caplog.at_level(logging.WARNING):
        found = ids(first)
    assert all(len(batch) == 4 for batch in found)
    told = [record.getMessage() for record in caplog.records]
    assert first.bad.by_source["photos"] == first.bad.bad >= 4 and first.bad.seen == 40 + first.bad.bad
    for index, reason in ((3, "torn.jpg"), (8, "image file not found"), (11, "99"), (20, "no entry 'bbox'")):
        named = [text for text in told if f"source 'photos', record {index}: " in text]
        assert len(named) == 1 and reason in named[0] and "bad of" in named[0]
    assert ids(mixture(0.1)) == found


def test_workers_change_neither_the_replacements_nor_the_count(mixture):
    alone, helped = mixture(0.1), mixture(0.1)
    assert ids(alone) == ids(helped, workers=2)
    assert (alone.bad.bad, alone.bad.seen) == (helped.bad.bad, helped.bad.seen)


def test_the_first_bad_record_ends_a_strict_run(mixture):
    with pytest.raises(ValueError, match=r"source 'photos', record \d+: "):
        ids(mixture(0.0))


def test_too_many_end_the_run():
    counter = BadSampleCounter(0.01)
    counter.add([BadSample("a", i, "torn") for i in range(10)], seen=30)
    with pytest.raises(ValueError, match=r"11 of 60 samples cannot be used \(a 10, b 1\).*0\.01.*record 4: gone"):
        counter.add([BadSample("b", 4, "gone")], seen=30)
    patient = BadSampleCounter(0.01)
    patient.add([], seen=5000)
    patient.add([BadSample("a", i, "torn") for i in range(50)], seen=1)
    with pytest.raises(ValueError, match="51 of 5002"):
        patient.add([BadSample("a", 7, "torn")], seen=1)


def test_a_source_without_a_usable_record_ends_the_run(small_record):
    def torn(record, **_):
        raise OSError("input/output error")

    mixture = TaskMixture([MixSource("dead", [small_record()] * 30, torn)], max_bad_share=1.0)
    with pytest.raises(ValueError, match=r"source 'dead', record \d+: input/output error \(and 19 records"):
        mixture.samples(0)


def test_defects_of_the_program_are_not_hidden(small_record):
    def broken(record, **_):
        raise TypeError("a bug")

    with pytest.raises(TypeError, match="a bug"):
        TaskMixture([MixSource("a", [small_record()], broken)], max_bad_share=1.0).samples(0)
