"""Points: counts, which ones are chosen, and labels of masks smaller than the frame."""

import pytest
import torch
from oracles.criterion import padded_labels

from mvplm.losses.points import PointBudget, choose_points, sample_features, sample_masks


# Golden G33.
def test_counts_of_the_paper():
    budget = PointBudget(12544, 3.0, 0.75)
    assert (budget.candidates, budget.important, budget.uniform, budget.drawn) == (37632, 9408, 3136, 40768)


@pytest.mark.parametrize("arguments", [(0,), (8, 0.5), (8, 3.0, 1.5)])
def test_impossible_budgets_are_refused(arguments):
    with pytest.raises(ValueError, match="points need"):
        PointBudget(*arguments)


# Golden G33.
def test_chosen_points_are_the_uncertain_ones():
    budget = PointBudget(16, 3.0, 0.75)
    logits = torch.randn(5, budget.drawn)
    index = choose_points(logits, budget)
    assert index.shape == (5, 16)
    for row, chosen in zip(logits, index, strict=True):
        important, extra = chosen[:12], chosen[12:]
        candidates = row[: budget.candidates].abs()
        assert extra.tolist() == list(range(budget.candidates, budget.drawn))
        assert len(set(important.tolist())) == 12 and candidates[important].max() <= candidates.sort().values[11]


def test_without_importance_every_point_is_uniform():
    budget = PointBudget(16, 3.0, 0.0)
    assert budget.drawn == 16 and choose_points(torch.randn(2, 16), budget).tolist() == [list(range(16))] * 2


@pytest.mark.parametrize("size", [(32, 32), (32, 20), (7, 32), (1, 1)])
def test_labels_equal_those_of_the_padded_frame(size):
    torch.manual_seed(0)
    masks = torch.rand(3, *size) > 0.5
    edges = torch.tensor([[0.0, 0], [1, 1], [size[1] / 32, size[0] / 32], [0, 1]])
    points = torch.cat([torch.rand(50, 2), edges])
    labels = sample_masks(masks, points, frame=(32, 32))
    expected = torch.stack([padded_labels(mask, points, (32, 32)) for mask in masks])
    torch.testing.assert_close(labels, expected, atol=1e-5, rtol=0)


def test_features_keep_float32_coordinates_and_reach_the_maps():
    features = torch.arange(8.0).expand(1, 1, 2, 8).clone().requires_grad_()
    points = torch.tensor([[[0.5, 0.5], [0.25, 0.5], [0.9375, 0.5], [0.0625, 0.5]]])
    values = sample_features(features, points)
    torch.testing.assert_close(values[0, 0], torch.tensor([3.5, 1.5, 7, 0]))
    values.sum().backward()
    assert float(features.grad.sum()) == pytest.approx(4)
