"""Panoptic quality against a naive pixel loop and against hand-made cases."""

import numpy as np
import pytest

from mvplm.evaluation import PanopticQuality
from mvplm.evaluation.panoptic import Segment

ISTHING = [True, True, False]


def naive_pq(samples, num_classes):
    """PQ by looping over every pair of segments and counting pixels with sets."""
    stats = {k: [0.0, 0, 0, 0] for k in range(num_classes)}
    for predicted_map, predicted, true_map, true in samples:
        pixels = {("p", s.id): set(np.flatnonzero(predicted_map == s.id)) for s in predicted}
        pixels |= {("t", s.id): set(np.flatnonzero(true_map == s.id)) for s in true}
        void = set(np.flatnonzero(true_map == 0))
        hit_p, hit_t = set(), set()
        for p in predicted:
            for t in true:
                if t.iscrowd or p.class_index != t.class_index:
                    continue
                a, b = pixels["p", p.id], pixels["t", t.id]
                union = (a | b) - (a & void)
                if union and len(a & b) / len(union) > 0.5:
                    stats[t.class_index][0] += len(a & b) / len(union)
                    stats[t.class_index][1] += 1
                    hit_p.add(p.id)
                    hit_t.add(t.id)
        for t in true:
            if t.id not in hit_t and not t.iscrowd:
                stats[t.class_index][3] += 1
        for p in predicted:
            area = pixels["p", p.id]
            if p.id in hit_p or not area:
                continue
            crowd = set().union(*[pixels["t", t.id] for t in true if t.iscrowd and t.class_index == p.class_index])
            if len(area & (void | crowd)) / len(area) <= 0.5:
                stats[p.class_index][2] += 1
    values = [s[0] / (s[1] + 0.5 * s[2] + 0.5 * s[3]) for s in stats.values() if sum(s[1:])]
    return 100 * sum(values) / len(values)


def random_map(rng, count, with_crowd):
    values = rng.integers(0, count + 1, (4, 4)).repeat(4, 0).repeat(4, 1)
    present = [int(v) for v in np.unique(values) if v]
    segments = [Segment(v, int(rng.integers(3)), bool(with_crowd and rng.random() < 0.3)) for v in present]
    return values, segments


@pytest.mark.parametrize("seed", range(5))
def test_equals_naive_loop(seed):
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(6):
        true_map, true = random_map(rng, 4, True)
        predicted_map = np.where(rng.random((4, 4)).repeat(4, 0).repeat(4, 1) < 0.75, true_map, 0)
        present = set(np.unique(predicted_map))
        predicted = [Segment(t.id, t.class_index if rng.random() < 0.8 else 0) for t in true if t.id in present]
        samples.append((predicted_map, predicted, true_map, true))
    metric = PanopticQuality(ISTHING)
    for predicted_map, predicted, true_map, true in samples:
        metric.update(predicted_map, predicted, true_map=true_map, true=true)
    assert metric.compute()["PQ"] == pytest.approx(naive_pq(samples, 3))


def test_perfect_prediction_is_hundred_and_reset_forgets():
    values = np.array([[1, 1, 2, 2]] * 4)
    segments = [Segment(1, 0), Segment(2, 2)]
    metric = PanopticQuality(ISTHING)
    metric.update(values, segments, true_map=values, true=segments)
    result = metric.compute()
    assert result["PQ"] == result["SQ_th"] == result["RQ_st"] == 100.0
    metric.reset()
    assert metric.compute()["PQ"] == 0.0


def test_prediction_on_void_is_no_false_positive():
    true_map = np.zeros((4, 4), int)
    true_map[:, 0] = 1
    predicted_map = np.full((4, 4), 2)
    predicted_map[:, 0] = 1
    metric = PanopticQuality(ISTHING)
    metric.update(predicted_map, [Segment(1, 0), Segment(2, 1)], true_map=true_map, true=[Segment(1, 0)])
    assert metric.compute()["PQ"] == 100.0


def test_half_overlap_does_not_match():
    true_map, predicted_map = np.zeros((2, 4), int), np.zeros((2, 4), int)
    true_map[:] = 3  # another class fills the rest, so nothing is void
    true_map[:, :2] = 1
    predicted_map[:, 0] = 1
    metric = PanopticQuality(ISTHING)
    metric.update(predicted_map, [Segment(1, 0)], true_map=true_map, true=[Segment(1, 0), Segment(3, 2)])
    assert metric.compute()["RQ_th"] == 0.0


def test_unlisted_id_and_size_mismatch_are_errors():
    metric = PanopticQuality(ISTHING)
    with pytest.raises(ValueError, match="no segment lists"):
        metric.update(np.ones((2, 2), int), [], true_map=np.zeros((2, 2), int), true=[])
    with pytest.raises(ValueError, match="differ in size"):
        metric.update(np.zeros((2, 2), int), [], true_map=np.zeros((2, 3), int), true=[])


def test_a_sample_seen_twice_counts_once():
    values = np.array([[1, 1, 2, 2]] * 4)
    wrong = [Segment(1, 1), Segment(2, 2)]
    right = [Segment(1, 0), Segment(2, 2)]
    metric = PanopticQuality(ISTHING)
    metric.update(values, right, true_map=values, true=right, key="a")
    metric.update(values, wrong, true_map=values, true=right, key="b")
    once = metric.compute()
    metric.update(values, wrong, true_map=values, true=right, key="b")
    assert metric.compute() == once and len(metric) == 2
