"""Matching: golden costs, exhaustive search, kinds, broken inputs, one copy each way."""

import math

import pytest
import torch
from oracles.criterion import best_assignment, golden_problem, naive_cost, random_problem

from mvplm.losses import HungarianMatcher, MatchWeights, costs
from mvplm.losses.points import uniform_points
from mvplm.structures import PredictionSet


# Golden G26.
def test_golden_costs_and_pairs():
    problem = golden_problem()
    output, target = problem.output, problem.batch.targets[0]
    l1 = costs.box_l1_cost(output.boxes[0], target.boxes[None])[0]
    giou = -costs.box_giou_cost(output.boxes[0], target.boxes[None])[0]
    word = costs.softmax_cost(output.logits[0], target.labels[None])[0]
    torch.testing.assert_close(l1, torch.tensor([[0.8, 0.4], [0.4, 0.8], [1.6, 2]]), atol=1e-5, rtol=0)
    expected = torch.tensor([[-0.5, 0.25], [0.25, -0.777778], [0.16, 0.04]])
    torch.testing.assert_close(giou, expected, atol=1e-5, rtol=0)
    total = torch.tensor([[4.786986, -0.073972], [-0.073972, 5.342541], [7.013333, 9.253333]])
    torch.testing.assert_close(2 * word + 5 * l1 - 2 * giou, total, atol=1e-5, rtol=0)
    matches = HungarianMatcher().match_all([output.final], output, targets=[target])
    assert matches.pairs(0) == [(0, 1), (1, 0)]


# Golden G32.
def test_focal_cost():
    values = costs.focal_cost(torch.tensor([[[0.0], [math.log(9)]]]), torch.zeros(1, 1, dtype=torch.int64))
    torch.testing.assert_close(values.flatten(), torch.tensor([-0.086643, -1.398557]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["word", "sentence"])
@pytest.mark.parametrize("masks", [True, False])
def test_equals_exhaustive_search_over_loop_costs(family, masks):
    torch.manual_seed(3)
    problem = random_problem([2, 0, 3], family=family, queries=5, layers=2, masks=masks)
    output = problem.output
    sets = [
        PredictionSet(output.logits[i], output.boxes[i], output.mask_embeddings[i] if masks else None) for i in (0, 1)
    ]
    sets.append(output.selection)
    points = uniform_points(3, 20)
    matches = HungarianMatcher(num_points=20).match_all(sets, output, targets=problem.batch.targets, points=points)
    assert matches.per_image == [6, 0, 9]
    for index, single in enumerate(sets):
        for image, target in enumerate(problem.batch.targets):
            table = [
                [naive_cost(problem, single, image, q, t, points[image]) for t in range(len(target))] for q in range(5)
            ]
            assert set(matches.pairs(image, set_index=index)) == best_assignment(table)


def test_rows_and_targets_point_into_the_flat_tables():
    torch.manual_seed(0)
    problem = random_problem([2, 1], queries=4, layers=2)
    output = problem.output
    few = PredictionSet(output.logits[0][:, :3], output.boxes[0][:, :3], output.mask_embeddings[0][:, :3])
    sets = [few, output.final]
    matches = HungarianMatcher(num_points=8).match_all(sets, output, targets=problem.batch.targets)
    flat = torch.cat([single.boxes.flatten(0, 1) for single in sets])
    for i in range(len(matches.row)):
        box = sets[matches.set_index[i]].boxes[matches.image[i], matches.query[i]]
        assert torch.equal(flat[matches.row[i]], box)
    assert (matches.target[matches.image == 1] == 2).all()


# Golden G29.
@pytest.mark.parametrize("split", ["partition", "cost_1e4"])
def test_kinds_stay_apart(split):
    torch.manual_seed(0)
    problem = random_problem([3], queries=5, things=3, names=4, isthing=[False, True, False, True])
    problem.batch.targets[0].labels[:] = torch.tensor([1, 0, 3])
    output = problem.output
    matches = HungarianMatcher(num_points=16, split=split).match_all(
        [output.final], output, targets=problem.batch.targets, points=uniform_points(1, 16)
    )
    found = {target: query for query, target in matches.pairs(0)}
    assert found.keys() == {0, 1, 2} and found[0] < 3 and found[2] < 3 and found[1] >= 3


# Golden G29.
def test_both_splits_agree():
    torch.manual_seed(0)
    problem = random_problem([3, 2], queries=6, things=4, names=4, isthing=[False, True, False, True])
    points = uniform_points(2, 16)
    found = [
        HungarianMatcher(num_points=16, split=split).match_all(
            [problem.output.final], problem.output, targets=problem.batch.targets, points=points
        )
        for split in ("partition", "cost_1e4")
    ]
    for image in (0, 1):
        assert set(found[0].pairs(image)) == set(found[1].pairs(image))


# Golden G28.
def test_surplus_targets_and_no_queries_of_a_kind():
    torch.manual_seed(0)
    problem = random_problem([4], queries=3, things=2, names=2, isthing=[True, False])
    problem.batch.targets[0].labels[:] = torch.tensor([0, 0, 0, 1])
    output = problem.output
    matches = HungarianMatcher(num_points=8).match_all([output.final], output, targets=problem.batch.targets)
    found = matches.pairs(0)
    assert len(found) == 3 and (2, 3) in found
    output.num_things = 0
    matches = HungarianMatcher(num_points=8).match_all([output.final], output, targets=problem.batch.targets)
    assert [target for _, target in matches.pairs(0)] == [3]


# Golden G28.
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_broken_inputs_are_counted_and_survived(value):
    torch.manual_seed(0)
    problem = random_problem([2, 2], queries=4)
    with torch.no_grad():
        problem.output.boxes[-1, 0, 1] = value
        problem.output.mask_embeddings[-1, 0, 2] = value
    matcher = HungarianMatcher(num_points=8)
    matches = matcher.match_all(
        [problem.output.final], problem.output, targets=problem.batch.targets, image_ids=["left", "right"]
    )
    assert sorted(query for query, _ in matches.pairs(0)) == [0, 3]
    assert matcher.non_finite == {"left": 4}


# Golden G28.
def test_no_targets_at_all():
    problem = random_problem([0, 0])
    matches = HungarianMatcher(num_points=8).match_all(
        [problem.output.final], problem.output, targets=problem.batch.targets
    )
    assert matches.per_image == [0, 0] and len(matches.row) == 0 and matches.pairs(1) == []


def test_stuff_boxes_do_not_count_while_stuff_queries_are_in_use():
    torch.manual_seed(1)
    problem = random_problem([1], queries=4, things=2, names=2, isthing=[True, False], masks=False)
    problem.batch.targets[0].labels[:] = 1
    output = problem.output
    with torch.no_grad():
        output.logits.zero_()
        output.logits[-1, 0, 2, 1] = 1.0
        output.boxes[-1, 0, 2] = torch.tensor([0.9, 0.9, 0.1, 0.1])
        output.boxes[-1, 0, 3] = problem.batch.targets[0].boxes[0]
    without = HungarianMatcher().match_all([output.final], output, targets=problem.batch.targets)
    counted = HungarianMatcher(stuff_boxes=True).match_all([output.final], output, targets=problem.batch.targets)
    assert without.pairs(0) == [(2, 0)] and counted.pairs(0) == [(3, 0)]


def test_presence_decides_sentence_matching_unless_switched_off():
    torch.manual_seed(1)
    problem = random_problem([1], family="sentence", queries=2, masks=False)
    output = problem.output
    with torch.no_grad():
        output.boxes[-1, 0] = problem.batch.targets[0].boxes[0]
        output.boxes[-1, 0, 1, 0] += 0.01
        output.logits[-1, 0, :, 0] = torch.tensor([-2.0, 2.0])
    used = HungarianMatcher().match_all([output.final], output, targets=problem.batch.targets)
    ignored = HungarianMatcher(sentence_cost=False).match_all([output.final], output, targets=problem.batch.targets)
    assert used.pairs(0) == [(1, 0)] and ignored.pairs(0) == [(0, 0)]


def test_unknown_choices_name_the_near_one():
    with pytest.raises(ValueError, match="unknown split 'partitions'; did you mean 'partition'"):
        HungarianMatcher(split="partitions")


# Golden G57.
def test_one_copy_to_the_host_and_one_back(monkeypatch):
    problem = random_problem([2, 3], queries=6, layers=3)
    sets = [problem.output.final, problem.output.selection]
    calls = {"down": 0, "up": 0}
    cpu, upload = torch.Tensor.cpu, torch.from_numpy

    def counted_cpu(self, *args, **kwargs):
        calls["down"] += 1
        return cpu(self, *args, **kwargs)

    def counted_upload(array):
        calls["up"] += 1
        return upload(array)

    def forbidden(self):
        raise AssertionError("a value was read from the device")

    monkeypatch.setattr(torch.Tensor, "cpu", counted_cpu)
    monkeypatch.setattr(torch, "from_numpy", counted_upload)
    monkeypatch.setattr(torch.Tensor, "item", forbidden)
    monkeypatch.setattr(torch.Tensor, "tolist", forbidden)
    monkeypatch.setattr(torch.Tensor, "__bool__", forbidden)
    HungarianMatcher(MatchWeights(), num_points=8).match_all(sets, problem.output, targets=problem.batch.targets)
    assert calls == {"down": 1, "up": 1}
