"""Loading for evaluation: each row once, nothing doubled."""

from functools import partial

import pytest

from mvplm.data.collate import collate
from mvplm.data.evaluation import evaluation_batches
from mvplm.data.mapper import SampleMapper


@pytest.fixture
def load(small_tokenizer, small_record):
    def run(task, records=7, **options):
        mapper = SampleMapper(small_tokenizer, image_size=40, num_image_tokens=4, task=task, training=False)
        make = partial(collate, pad_id=0, num_image_tokens=4, image_size=40, mean=(0, 0, 0), std=(1, 1, 1))
        dataset = [small_record(100 + i) for i in range(records)]
        return list(evaluation_batches(dataset, mapper, batch_size=3, collate=make, **options))

    return run


def rows(batches):
    return [
        (record.image_id, expression, index)
        for found in batches
        for record, expression, index in zip(found.records, found.expressions, found.indices, strict=True)
    ]


def test_one_row_per_record(load):
    batches = load("panoptic")
    assert [len(found.batch) for found in batches] == [3, 3, 1]
    assert rows(batches) == [(100 + i, None, i) for i in range(7)]
    assert [i for found in batches for i in found.batch.image_ids] == [100 + i for i in range(7)]


def test_one_row_per_expression_that_fits(load):
    assert rows(load("gres", records=2)) == [(100, 0, 0), (100, 1, 0), (101, 0, 1), (101, 1, 1)]
    batches = load("res", records=2)
    assert rows(batches) == [(100, 0, 0), (101, 0, 1)]
    assert batches[0].batch.names == [("the left star",)] * 2


def test_limit_and_ranks(load):
    assert len(rows(load("panoptic", limit=2))) == 2
    parts = [rows(load("panoptic", rank=rank, world=3)) for rank in range(3)]
    assert sorted(sum(parts, [])) == rows(load("panoptic")) and [len(part) for part in parts] == [3, 2, 2]


def test_workers_change_nothing(load):
    assert rows(load("gres", num_workers=2)) == rows(load("gres"))
