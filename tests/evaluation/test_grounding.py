"""Recall of phrases by hand, and answers of whole pictures."""

import pickle

import numpy as np
import pytest
import torch

from mvplm.evaluation import GroundingRecall, bootstrap, make_evaluator, set_averages
from mvplm.structures import Annotation, Instances, Perception, Record

FIRST, SECOND, FAR = (0, 0, 10, 10), (20, 0, 30, 10), (60, 60, 70, 70)
AROUND = (0, 0, 30, 10)
HALF, LESS = (0, 0, 10, 20), (0, 0, 10, 20.2)  # IoU with the first: one half, and a little less


@pytest.mark.parametrize(
    ("predicted", "true", "any_box", "merged"),
    [
        ([FIRST], [FIRST], (1, 1, 1), (1, 1, 1)),
        ([HALF], [FIRST], (1, 1, 1), (1, 1, 1)),
        ([LESS], [FIRST], (0, 0, 0), (0, 0, 0)),
        ([], [FIRST], (0, 0, 0), (0, 0, 0)),
        ([SECOND], [FIRST, SECOND], (1, 1, 1), (0, 0, 0)),
        ([AROUND], [FIRST, SECOND], (0, 0, 0), (1, 1, 1)),
        ([(0, 0, 16, 10)], [FIRST, SECOND], (1, 1, 1), (1, 1, 1)),
        ([FAR, FIRST], [FIRST], (0, 1, 1), (0, 1, 1)),
        ([FAR] * 4 + [FIRST], [FIRST], (0, 1, 1), (0, 1, 1)),
        ([FAR] * 5 + [FIRST], [FIRST], (0, 0, 1), (0, 0, 1)),
        ([FAR] * 9 + [FIRST], [FIRST], (0, 0, 1), (0, 0, 1)),
        ([FAR] * 10 + [FIRST], [FIRST], (0, 0, 0), (0, 0, 0)),
        ([FIRST, AROUND], [FIRST, SECOND], (1, 1, 1), (0, 1, 1)),
        ([(5, 5, 5, 5)], [(5, 5, 5, 5)], (0, 0, 0), (0, 0, 0)),
        ([(10, 0, 20, 10)], [FIRST, SECOND], (0, 0, 0), (0, 0, 0)),
    ],
)
def test_one_phrase(predicted, true, any_box, merged):
    metric = GroundingRecall()
    metric.update(predicted, true)
    expected = {f"R@{k}": 100.0 * right for k, right in zip((1, 5, 10), any_box, strict=True)}
    expected |= {f"merged/R@{k}": 100.0 * right for k, right in zip((1, 5, 10), merged, strict=True)}
    assert metric.compute() == expected


def test_phrases_of_processes_are_joined_and_count_once():
    first, second = GroundingRecall(), GroundingRecall()
    first.update([FIRST], [FIRST], image=1, key=(1, "a"))
    second.update([FIRST], [FIRST], image=1, key=(1, "a"))
    second.update([FAR], [FIRST], image=2, key=(2, "a"))
    first.merge(pickle.loads(pickle.dumps(second)))
    assert len(first) == 2 and first.compute()["R@1"] == 50
    assert bootstrap(first.image_sums())["R@1"].value == 50


def test_another_threshold_and_nothing_to_score():
    strict = GroundingRecall(0.51)
    strict.update([HALF], [FIRST])
    assert strict.compute()["R@10"] == 0 and GroundingRecall().compute() == {}
    with pytest.raises(ValueError, match="without a true box"):
        strict.update([FIRST], [])


def record() -> Record:
    annotations = (
        Annotation(FIRST, phrase="two  dogs"),
        Annotation(SECOND, phrase="two dogs"),
        Annotation(FAR, phrase="a man"),
        Annotation(FAR, phrase="a crowd", iscrowd=True),
        Annotation(FAR),
    )
    return Record(4, np.zeros((80, 80, 3), np.uint8), (80, 80), annotations=annotations, exhaustive=False)


def test_the_best_boxes_of_each_phrase_of_a_picture():
    """Boxes of one phrase say nothing about another, and the best score comes first wherever it stands."""
    evaluator = make_evaluator("grounding")
    query = ["a man", "two dogs"]
    boxes = torch.tensor([FIRST, FIRST, FAR, SECOND], dtype=torch.float32)
    label, scores = torch.tensor([0, 1, 0, 1]), torch.tensor([0.2, 0.3, 0.9, 0.1])
    found = Instances(boxes, scores, [query[place] for place in label], label)
    evaluator.update(record(), {"grounding": Perception((80, 80), "grounding", query, instances=found)})
    assert len(evaluator.recall) == 2
    assert evaluator.compute()["grounding/R@1"] == 100 and evaluator.compute()["grounding/merged/R@1"] == 50


def test_phrases_without_an_answer_are_missed():
    evaluator = make_evaluator("grounding")
    evaluator.update(record(), {"grounding": Perception((80, 80), "grounding", ["a man"])})
    assert set(evaluator.compute().values()) == {0.0} and len(evaluator.recall) == 2


def test_phrases_have_intervals_and_a_table_of_sizes():
    """The two dogs' merged box is 30 x 10, small; a man is made large in a second picture, and missed."""
    evaluator = make_evaluator("grounding")
    assert evaluator.intervals() == {} and evaluator.tables() == {}
    query = ["a man", "two dogs"]
    boxes, label = torch.tensor([FIRST, FAR], dtype=torch.float32), torch.tensor([1, 0])
    found = Instances(boxes, torch.tensor([0.5, 0.4]), ["two dogs", "a man"], label)
    evaluator.update(record(), {"grounding": Perception((80, 80), "grounding", query, instances=found)})
    large = Record(
        5, record().image, (120, 120), annotations=(Annotation((0, 0, 100, 100), phrase="a man"),), exhaustive=False
    )
    evaluator.update(large, {"grounding": Perception((120, 120), "grounding", query)})
    intervals, metrics = evaluator.intervals(), evaluator.compute()
    assert {name: entry.value for name, entry in intervals.items()} == pytest.approx(metrics)
    assert (intervals["grounding/R@1"].low, intervals["grounding/R@1"].high) == (0, 100)
    table = evaluator.tables()["grounding/per_size"]
    assert list(table.columns[:3]) == ["size", "phrases", "R@1"]
    assert [row[:3] for row in table.rows] == [["small", 2, 100.0], ["large", 1, 0.0]]


def test_averages_are_taken_over_sets_of_one_collection():
    metrics = {"odinw/A/box_AP": 10.0, "odinw/B/box_AP": 20.0, "odinw/C/box_AP": 60.0, "lvis/box_AP": 5.0}
    metrics |= {"odinw/A/mask_AP": 1.0, "referring/all/cIoU": 3.0}
    assert set_averages(metrics) == {"odinw/average_AP": 30.0, "odinw/median_AP": 20.0, "odinw/sets": 3}
    assert set_averages({"detection/box_AP": 4.0}) == {}
