"""Panoptic quality by hand: what matches, what is excused, what is refused."""

import numpy as np
import pytest

from mvplm.evaluation import PanopticQuality
from mvplm.evaluation.panoptic import categories_of
from mvplm.structures import Vocabulary

CATEGORIES = [
    {"id": 1, "name": "dog", "isthing": 1},
    {"id": 18, "name": "cat", "isthing": 1},
    {"id": 5, "name": "sky", "isthing": 0},
]


def entry(id_, category=1, crowd=0):
    return {"id": id_, "category_id": category, "iscrowd": crowd}


def score(pred_map, pred, gt_map, gt):
    metric = PanopticQuality(CATEGORIES)
    metric.update(np.array(pred_map), pred, np.array(gt_map), gt)
    return metric.compute()


def counts(result, category):
    return tuple(result["per_class"][category][name] for name in ("TP", "FP", "FN"))


def test_perfect_prediction_is_hundred_and_reset_forgets():
    values, segments = np.array([[1, 1, 2, 2]] * 4), [entry(1), entry(2, 5)]
    metric = PanopticQuality(CATEGORIES)
    metric.update(values, segments, values, segments)
    result = metric.compute()
    assert result["per_class"][5] == {"name": "sky", "PQ": 100.0, "SQ": 100.0, "RQ": 100.0, "TP": 1, "FP": 0, "FN": 0}
    names = {f"panoptic/{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")}
    assert {name: result[name] for name in names} == dict.fromkeys(names, 100.0) and set(result) == {
        *names,
        "per_class",
    }
    metric.reset()
    assert metric.compute() == {**dict.fromkeys(names, 0.0), "per_class": {}}


def test_means_by_hand():
    """The dog: 3 of 4 pixels found. The cat: missed, with a false one elsewhere. The sky: right."""
    gt_map = [[1, 1, 1, 1], [2, 2, 3, 3], [9, 9, 9, 9]]
    pred_map = [[1, 1, 1, 0], [0, 0, 4, 4], [9, 9, 9, 9]]
    gt = [entry(1), entry(2, 18), entry(3), entry(9, 5)]
    result = score(pred_map, [entry(1), entry(4, 18), entry(9, 5)], gt_map, gt)
    dog = 100 * 0.75 / 1.5  # one match, one missed dog
    assert result["panoptic/PQ"] == pytest.approx((dog + 0 + 100) / 3)
    assert result["panoptic/PQ_th"] == pytest.approx(dog / 2) and result["panoptic/PQ_st"] == 100.0
    assert result["panoptic/SQ"] == pytest.approx((75 + 0 + 100) / 3)
    assert counts(result, 1) == (1, 0, 1) and counts(result, 18) == (0, 1, 1)


def test_exactly_one_half_does_not_match():
    result = score([[1, 1, 0, 0]], [entry(1)], [[1, 1, 1, 1]], [entry(1)])
    assert counts(result, 1) == (0, 1, 1)


def test_void_pixels_of_the_truth_do_not_enter_the_union():
    assert score([[1, 1, 1, 1]], [entry(1)], [[1, 0, 0, 0]], [entry(1)])["panoptic/PQ"] == 100.0


@pytest.mark.parametrize(("gt_map", "false"), [([[0, 0, 2, 2]], 1), ([[0, 0, 0, 2]], 0)])
def test_a_prediction_mostly_on_void_is_excused(gt_map, false):
    result = score([[1, 1, 1, 1]], [entry(1)], gt_map, [entry(2, 5)])
    assert result["per_class"].get(1, {"FP": 0})["FP"] == false


@pytest.mark.parametrize(("crowd_category", "false"), [(1, 0), (18, 1)])
def test_a_crowd_excuses_only_its_own_category_and_is_never_missed(crowd_category, false):
    result = score([[1, 1, 1, 1]], [entry(1)], [[2, 2, 3, 0]], [entry(2, crowd_category, 1), entry(3, 5)])
    assert result["per_class"].get(1, {"FP": 0})["FP"] == false
    assert counts(result, 5) == (0, 0, 1) and 18 not in result["per_class"]


def test_of_several_crowds_of_a_category_the_last_one_listed_counts():
    """As in panopticapi; a map with one crowd per category, as the format has it, is not concerned."""
    for crowds, false in (([entry(8, 1, 1), entry(3, 1, 1)], 1), ([entry(3, 1, 1), entry(8, 1, 1)], 0)):
        result = score([[1, 1, 1, 1]], [entry(1)], [[8, 8, 8, 3]], crowds)
        assert result["per_class"].get(1, {"FP": 0})["FP"] == false


def test_a_true_segment_without_pixels_is_missed():
    assert counts(score([[0]], [], [[0]], [entry(4)]), 1) == (0, 0, 1)


def test_a_sample_seen_twice_counts_once():
    values = np.array([[1, 1, 2, 2]] * 4)
    wrong, right = [entry(1, 18), entry(2, 5)], [entry(1), entry(2, 5)]
    metric = PanopticQuality(CATEGORIES)
    metric.update(values, right, values, right, key="a")
    metric.update(values, wrong, values, right, key="b")
    once = metric.compute()
    metric.update(values, wrong, values, right, key="b")
    assert metric.compute() == once and len(metric) == 2


@pytest.mark.parametrize(
    ("pred", "gt", "message"),
    [
        (([[1, 7]], [entry(1)]), ([[0, 0]], []), r"predicted panoptic map holds ids \[7\] that no segment lists"),
        (([[0, 0]], []), ([[3, 0]], []), r"true panoptic map holds ids \[3\]"),
        (([[1, 1]], [entry(1), entry(6)]), ([[0, 0]], []), r"predicted segments \[6\] are listed, but"),
        (([[1, 1]], [entry(1), entry(1)]), ([[0, 0]], []), "ids of predicted segments must differ"),
        (([[1, 1]], [entry(1), entry(0)]), ([[0, 0]], []), "above 0"),
        (([[1, 1]], [entry(1, 2)]), ([[0, 0]], []), "lacks 'id' or a known 'category_id'"),
        (([[1, 1]], [{"id": 1}]), ([[0, 0]], []), "lacks 'id' or a known 'category_id'"),
        (([[1, 1]], [entry(1)]), ([[0]], []), "differ in size"),
        (([[1.0, 1.0]], [entry(1)]), ([[0, 0]], []), "must be .H, W. integers, got float64"),
    ],
)
def test_what_does_not_fit_is_refused(pred, gt, message):
    with pytest.raises(ValueError, match=message):
        score(*pred, *gt)


def test_categories_need_different_ids():
    for wrong in ([], [CATEGORIES[0], CATEGORIES[0]]):
        with pytest.raises(ValueError, match="ids must differ"):
            PanopticQuality(wrong)


def test_categories_of_a_vocabulary_are_its_positions():
    found = categories_of(Vocabulary(("dog", "sky"), (True, False), (18, 3)))
    assert found == [{"id": 0, "name": "dog", "isthing": True}, {"id": 1, "name": "sky", "isthing": False}]
