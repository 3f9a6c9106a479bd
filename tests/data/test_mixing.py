"""The schedule of a mixture: exact ratios, resuming, ranks, workers."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from functools import partial

import pytest
import torch

from mvplm.data.collate import collate
from mvplm.data.mapper import SampleMapper
from mvplm.data.mixing import MixSource, TaskMixture

RATIOS = {"panoptic": 2, "refs": 2, "boxes": 1, "phrases": 1}


def plain_mixture(seed=0, batch_size=3, length=7, **options):
    sources = [
        MixSource(name, range(length), lambda record, **_: record, ratio, batch_size) for name, ratio in RATIOS.items()
    ]
    return TaskMixture(sources, seed=seed, **options)


# Golden G51.
@pytest.mark.parametrize("seed", range(5))
def test_every_aligned_window_has_the_exact_ratios(seed):
    mixture = plain_mixture(seed)
    order = [mixture.source_of(step) for step in range(240)]
    for start in range(0, 240, 6):
        assert Counter(order[start : start + 6]) == RATIOS
    assert len({tuple(order[start : start + 6]) for start in range(0, 240, 6)}) > 3


def test_a_source_is_spread_over_its_cycle():
    sources = [MixSource("a", range(4), lambda record, **_: record, 3), MixSource("b", range(4), print, 6)]
    mixture = TaskMixture(sources)
    assert mixture.cycle_length == 3
    order = [mixture.source_of(step) for step in range(30)]
    assert all(order[i : i + 3].count("a") == 1 for i in range(0, 30, 3))


def test_each_epoch_is_a_fresh_permutation():
    mixture = plain_mixture()
    visits = [v for step in range(300) for v in mixture.batch_plan(step).visits if mixture.source_of(step) == "refs"]
    epochs = {}
    for visit in visits:
        epochs.setdefault(visit.epoch, []).append(visit.index)
    full = [indices for epoch, indices in epochs.items() if epoch < max(epochs)]
    assert len(full) > 10 and all(sorted(indices) == list(range(7)) for indices in full)
    assert len({tuple(indices) for indices in full}) > 5


def test_ranks_share_the_source_and_split_the_records():
    whole = plain_mixture(batch_size=4, length=1000)
    parts = [plain_mixture(batch_size=2, length=1000, rank=rank, world=2) for rank in range(2)]
    for step in range(40):
        plans = [part.batch_plan(step) for part in parts]
        assert plans[0].source == plans[1].source == whole.source_of(step)
        assert plans[0].visits + plans[1].visits == whole.batch_plan(step).visits


def real_mixture(tokenizer, record):
    def mapper(task):
        return SampleMapper(tokenizer, image_size=40, num_image_tokens=4, task=task, training=True)

    return TaskMixture(
        [
            MixSource("panoptic", [record(i) for i in range(5)], mapper("panoptic"), 2, 2),
            MixSource("refs", [record(i) for i in range(9)], mapper("gres"), 1, 3),
        ],
        seed=4,
    )


def run(mixture, start=None, **options):
    make = partial(collate, pad_id=0, num_image_tokens=4, image_size=40, mean=(0, 0, 0), std=(1, 1, 1))
    found = mixture.batches(start, collate=make, **options)
    return [(step, batch.task, batch.image_ids, batch.input_ids.tolist()) for step, batch in found]


# Golden G51.
def test_resuming_gives_the_same_continuation(small_tokenizer, small_record):
    mixture = real_mixture(small_tokenizer, small_record)
    straight = run(mixture, 0, stop_step=9)
    assert [step for step, *_ in straight] == list(range(9))
    state = mixture.state_dict()
    assert state == {"step": 9, "drawn": {"panoptic": 12, "refs": 9}}
    for given in ({"step": 5}, json.loads(json.dumps({"step": 5, "drawn": mixture_state(mixture, 5)}))):
        fresh = real_mixture(small_tokenizer, small_record)
        fresh.load_state_dict(given)
        assert run(fresh, stop_step=9) == straight[5:]


def mixture_state(mixture, step):
    mixture.step = step
    return mixture.state_dict()["drawn"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(small_tokenizer, small_record, workers):
    mixture = real_mixture(small_tokenizer, small_record)
    assert run(mixture, 2, stop_step=6, num_workers=workers) == run(mixture, 2, stop_step=6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_to_everybody_leaves_the_workers_to_the_main_process(number):
    steps = plain_mixture().batches(0, num_workers=1, collate=len)
    assert next(steps) == (0, 3)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, number)
    assert [next(steps) for _ in range(8)] == [(step, 3) for step in range(1, 9)]
    assert worker.is_alive()
    steps.close()


@pytest.mark.parametrize("ratios", [(2, 2, 1, 1), (5, 3, 1, 1), (30, 10, 12, 3)])
def test_any_window_is_near_its_ratios(ratios):
    """Aligned windows are exact; any other is off by less than two micro-batches of a source."""
    sources = [MixSource(str(i), range(9), print, ratio) for i, ratio in enumerate(ratios)]
    mixture, total = TaskMixture(sources, seed=1), sum(ratios)
    order = [mixture.source_of(step) for step in range(8 * total)]
    for i, ratio in enumerate(ratios):
        debt = [0.0]
        for name in order:
            debt.append(debt[-1] + (name == str(i)) - ratio / total)
        assert max(debt) - min(debt) < 2
        assert all(abs(debt[place]) < 1e-9 for place in range(0, len(debt), total))


def seen(mixtures, steps):
    """Records by source over all ranks, in the order of the steps."""
    found = {}
    for step in steps:
        for mixture in mixtures:
            plan = mixture.batch_plan(step)
            found.setdefault(plan.source, []).extend((visit.epoch, visit.index) for visit in plan.visits)
    return found


@pytest.mark.parametrize(("before", "after"), [((2, 4), (1, 8)), ((1, 8), (2, 4)), ((2, 4), (4, 2)), ((2, 3), (1, 5))])
def test_another_number_of_ranks_goes_on_with_the_next_record(before, after):
    def ranks(world, size):
        return [plain_mixture(batch_size=size, length=50, rank=rank, world=world) for rank in range(world)]

    first, second = ranks(*before), ranks(*after)
    start = seen(first, range(21))
    first[0].step = 21
    for mixture in second:
        mixture.load_state_dict(first[0].state_dict())
    end = seen(second, range(21, 60))
    whole = seen(ranks(1, 1), range(6000))
    for name in RATIOS:
        drawn = start[name] + end[name]
        assert drawn == whole[name][: len(drawn)]
    if before[0] * before[1] == after[0] * after[1]:
        assert end == seen(first, range(21, 60))
    second[0].step = 40
    third = plain_mixture(batch_size=3, length=50)
    third.load_state_dict(second[0].state_dict(), step=80)
    assert (
        seen([third], range(80, 90)).items()
        <= {
            name: whole[name][second[0].state_dict()["drawn"][name] :][: len(values)]
            for name, values in seen([third], range(80, 90)).items()
        }.items()
    )
    with pytest.raises(ValueError, match="at least 80"):
        third.batch_plan(79)


def test_loading_leaves_the_global_generator_alone(small_tokenizer, small_record):
    mixture = real_mixture(small_tokenizer, small_record)
    before = torch.get_rng_state()
    run(mixture, 0, stop_step=3)
    assert torch.get_rng_state().equal(before)


def test_endless_without_a_stop(small_tokenizer, small_record):
    mixture = real_mixture(small_tokenizer, small_record)
    stream = mixture.batches(1_000_000, collate=len)
    assert [next(stream)[0] for _ in range(3)] == [1_000_000, 1_000_001, 1_000_002]
    stream.close()


def test_errors_name_source_and_record(small_record):
    def broken(record, **_):
        raise ValueError("no good")

    mixture = TaskMixture([MixSource("bad", [small_record()], broken)])
    with pytest.raises(ValueError, match="source 'bad', record 0: no good"):
        mixture.samples(0)


def test_wrong_mixtures_are_refused():
    with pytest.raises(ValueError, match="ratio 0"):
        MixSource("a", range(3), print, 0)
    with pytest.raises(ValueError, match="no records"):
        MixSource("a", [], print)
    source = MixSource("a", range(3), print)
    with pytest.raises(ValueError, match="unique names"):
        TaskMixture([source, source])
    with pytest.raises(ValueError, match="rank"):
        TaskMixture([source], rank=1)


def test_several_questions_share_one_picture(small_tokenizer):
    from mvplm.data.scenes import SceneDataset

    scenes = SceneDataset("train", num=6, role="referring")
    mapper = SampleMapper(small_tokenizer, image_size=64, num_image_tokens=4, task="gres", training=True)
    mixture = TaskMixture([MixSource("refs", scenes, mapper, batch_size=2, questions=3)])
    samples = mixture.samples(5)
    pictures = [id(sample.image) for sample in samples]
    assert len(samples) > 2 and len(set(pictures)) == 2
    for picture in set(pictures):
        names = [sample.names for sample in samples if id(sample.image) == picture]
        assert len(set(names)) == len(names) <= 3
    assert [sample.names for sample in mixture.samples(5)] == [sample.names for sample in samples]
    with pytest.raises(ValueError, match="questions"):
        MixSource("refs", scenes, mapper, questions=0)
