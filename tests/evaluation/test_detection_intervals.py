"""Intervals of average precision against sets in which pictures really stand several times."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.coco_evaluation import Picture, measured, random_set, whole_run

from mvplm.evaluation import paired_intervals
from mvplm.evaluation.intervals import draw_counts

DRAWS = 7
NAMES = ("AP", "AP50", "AP75")


def different_scores(pictures: list[Picture], seed: int = 0) -> list[Picture]:
    """Of equal scores in one picture, copies of the picture would mix the finds in another order."""
    rng = np.random.default_rng(seed)
    return [
        replace(p, predictions=[{**entry, "score": float(rng.random())} for entry in p.predictions]) for p in pictures
    ]


def drawn(pictures: list[Picture]) -> list[list[Picture]]:
    """For each draw the pictures as often as they were drawn."""
    out = []
    for counts in np.concatenate(list(draw_counts(len(pictures), draws=DRAWS, seed=3))).astype(int):
        copies = [p for p, count in zip(pictures, counts, strict=True) for _ in range(count)]
        out.append([replace(p, key=place) for place, p in enumerate(copies)])
    return out


def naive(pictures: list[Picture]) -> dict[str, np.ndarray]:
    """Numbers of pycocotools over each draw."""
    values: dict[str, list[float]] = {}
    for copies in drawn(pictures):
        for name, kind in (("box", "bbox"), ("mask", "segm")):
            run = whole_run(copies, [0, 1, 2], kind)
            for key in NAMES:
                values.setdefault(f"{name}_{key}", []).append(run[key])
    return {name: np.array(row) for name, row in values.items()}


def ends(values: np.ndarray) -> list[float]:
    return np.percentile(values, [10, 90]).tolist()


def test_intervals_are_those_of_pictures_that_really_stand_several_times():
    pictures = different_scores(random_set(1, pictures=9, classes=3))
    metric = measured(pictures, 3)
    found, whole = metric.intervals(draws=DRAWS, level=0.8, seed=3), metric.compute()
    expected = naive(pictures)
    assert set(found) == set(expected)
    for name, interval in found.items():
        assert [interval.low, interval.high] == pytest.approx(ends(expected[name]), abs=1e-9)
        assert interval.value == pytest.approx(whole[name])


def test_paired_intervals_draw_the_same_pictures_for_both():
    pictures = different_scores(random_set(1, pictures=9, classes=3))
    worse = [replace(p, predictions=p.predictions[::2]) for p in pictures]
    first, second = measured(pictures[::-1], 3), measured(worse, 3)
    found = paired_intervals(first, second, draws=DRAWS, level=0.8, seed=3)
    before, after = naive(pictures), naive(worse)
    for name, interval in found.items():
        assert [interval.low, interval.high] == pytest.approx(ends(after[name] - before[name]), abs=1e-9)
        assert interval.value == pytest.approx(second.compute()[name] - first.compute()[name])


def test_equal_systems_do_not_differ():
    metric = measured(random_set(2), 4)
    assert {(i.value, i.low, i.high) for i in paired_intervals(metric, metric, draws=20).values()} == {(0, 0, 0)}


def test_one_seed_gives_one_result():
    metric = measured(random_set(2), 4)
    assert metric.intervals(draws=20) == metric.intervals(draws=20) != metric.intervals(draws=20, seed=1)


def test_wrong_arguments_are_told():
    pictures = random_set(2)
    metric = measured(pictures, 4)
    with pytest.raises(ValueError, match="draws must be at least 1"):
        metric.intervals(draws=0)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        metric.intervals(draws=2, level=1.5)
    with pytest.raises(ValueError, match="none was added"):
        measured([], 4).intervals()
    with pytest.raises(ValueError, match="same pictures on both sides; 1 are on one only: 3"):
        paired_intervals(metric, measured(pictures[1:], 4))
