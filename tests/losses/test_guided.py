"""Losses of masks from boxes against plain loops, and their weights."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from mvplm.losses.guided import GuidedCriterion, GuidedWeights, area_average, cell_iou, crop_points, sampled
from mvplm.structures.guided import GuidedBatch, GuidedOutput, GuidedTarget


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def target(count: int, size=(9, 14), seed: int = 1) -> GuidedTarget:
    corners = torch.rand(count, 2, 2, generator=generator(seed)).sort(1).values
    masks = torch.rand(count, *size, generator=generator(seed)) > 0.5
    return GuidedTarget(corners.flatten(1), masks, torch.arange(count))


def decoded(count: int, size=(4, 8), seed: int = 2):
    draws = [torch.randn(count, *size, generator=generator(seed + i)).requires_grad_() for i in range(2)]
    iou = torch.randn(count, generator=generator(seed)).requires_grad_()
    return SimpleNamespace(coarse_logits=draws[0], logits=draws[1], iou=iou)


def batch_of(*targets: GuidedTarget) -> GuidedBatch:
    return GuidedBatch(SimpleNamespace(image_ids=list(range(len(targets)))), list(targets))


def covered(mask, cell, size) -> float:
    """Share of a cell under a mask, counted at 6 x 6 points: exact where edges fall on sixths."""
    fine, (row, column) = 6, cell
    tall, wide = mask.shape[0] / size[0], mask.shape[1] / size[1]
    hits = 0
    for i in range(fine):
        for j in range(fine):
            y, x = (row + (i + 0.5) / fine) * tall, (column + (j + 0.5) / fine) * wide
            hits += bool(mask[int(y), int(x)])
    return hits / fine**2


def test_cells_know_how_much_of_them_is_covered():
    mask = torch.rand(8, 12, generator=generator()) > 0.5
    size = (4, 8)  # cells of 2 x 1.5 pixels: edges fall on sixths of cells
    found = area_average(mask[None].float(), size)[0]
    for row in range(size[0]):
        for column in range(size[1]):
            assert found[row, column].item() == pytest.approx(covered(mask, (row, column), size), abs=1e-6)


@pytest.mark.parametrize("size", [(3, 5), (7, 2), (9, 14), (20, 31)])
def test_cells_keep_the_area(size):
    mask = (torch.rand(1, 9, 14, generator=generator()) > 0.5).float()
    assert area_average(mask, size).mean().item() == pytest.approx(mask.mean().item(), abs=1e-6)


def test_points_of_a_box_stay_inside_the_picture():
    boxes = torch.tensor([[0.2, 0.3, 0.6, 0.8], [0.0, 0.0, 1.0, 1.0]])
    points = crop_points(boxes, 4, enlarge=1.3)
    assert points.shape == (2, 4, 4, 2)
    low, high = 0.2 - 0.06, 0.6 + 0.06
    assert points[0, 0, :, 0].tolist() == pytest.approx([low + (high - low) * (i + 0.5) / 4 for i in range(4)])
    assert points[1, :, 0, 1].tolist() == pytest.approx([0.125, 0.375, 0.625, 0.875])


def test_samples_are_bilinear():
    maps = torch.tensor([[[0.0, 1.0], [2.0, 3.0]]])
    points = torch.tensor([[[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 1.0]]])
    assert sampled(maps, points)[0].tolist() == pytest.approx([0.0, 0.5, 1.5, 2.0])


def test_overlap_of_cells():
    first = torch.tensor([[[1, 1, 0]], [[0, 0, 0]]]).bool()
    second = torch.tensor([[[0, 1, 1]], [[0, 0, 0]]]).bool()
    assert cell_iou(first, second).tolist() == pytest.approx([1 / 3, 0])


def naive_mask_losses(logits, labels) -> tuple[float, float]:
    """BCE and Dice of one mask, number by number."""
    bce = overlap = sizes = 0.0
    for value, label in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-value))
        bce -= label * math.log(p) + (1 - label) * math.log(1 - p)
        overlap, sizes = overlap + p * label, sizes + p + label
    return bce / logits.numel(), 1 - (2 * overlap + 1) / (sizes + 1)


def test_losses_against_plain_loops():
    given, found = [target(2), target(0), target(1, (6, 6), seed=5)], [decoded(2), decoded(0), decoded(1, seed=8)]
    losses = GuidedCriterion(crop=3)(GuidedOutput(torch.tensor(0.7), found), batch_of(*given))
    expected = dict.fromkeys(losses, 0.0)
    for truth, out in zip(given, found, strict=True):
        for row in range(len(truth)):
            cells = area_average(truth.masks[row : row + 1].float(), (4, 8))[0]
            points = crop_points(truth.boxes[row : row + 1], 3, enlarge=1.3)
            labels = sampled(truth.masks[row : row + 1].float(), points)[0]
            for suffix, logits in (("", out.logits[row]), (".first", out.coarse_logits[row])):
                crop = sampled(logits[None], points)[0]
                views = [naive_mask_losses(logits.detach(), cells), naive_mask_losses(crop.detach(), labels)]
                expected["mask_bce" + suffix] += sum(view[0] for view in views) / 2 / 3
                expected["mask_dice" + suffix] += sum(view[1] for view in views) / 2 / 3
            overlap = cell_iou(out.logits[row][None] > 0, cells[None] >= 0.5).item()
            expected["iou"] += (out.iou[row].item() - overlap) ** 2 / 3
    expected["lm"] = 0.7
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, abs=1e-5)


def test_small_things_weigh_more_in_the_second_view():
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[0, 30:34, 30:34] = True
    truth = GuidedTarget(torch.tensor([[30 / 64, 30 / 64, 34 / 64, 34 / 64]]), masks, torch.zeros(1).long())
    nothing = SimpleNamespace(
        coarse_logits=torch.full((1, 8, 8), -4.0), logits=torch.full((1, 8, 8), -4.0), iou=torch.zeros(1)
    )
    output = GuidedOutput(torch.tensor(0.0), [nothing])
    whole, both = (GuidedCriterion(crop=crop)(output, batch_of(truth))["mask_bce"].item() for crop in (0, 16))
    assert both > 5 * whole


def test_a_batch_without_masks_has_losses_of_zero_that_touch_the_decoder():
    weight = torch.ones(3, requires_grad=True)
    output = GuidedOutput(torch.tensor(0.7), [decoded(0)], idle=weight.sum() * 0.0)
    losses = GuidedCriterion()(output, batch_of(target(0)))
    total = GuidedWeights().total(losses)
    total.backward()
    assert total.item() == pytest.approx(0.7) and torch.equal(weight.grad, torch.zeros(3))


def test_only_the_score_learns_from_the_overlap():
    found, truth = decoded(2), target(2)
    GuidedCriterion()(GuidedOutput(torch.tensor(0.0), [found]), batch_of(truth))["iou"].backward()
    assert found.logits.grad is None and found.iou.grad.abs().min() > 0


def test_weights_of_the_total():
    names = ["lm", "mask_bce", "mask_dice", "mask_bce.first", "mask_dice.first", "iou"]
    assert [GuidedWeights().weight_of(name) for name in names] == [1, 2, 1, 1, 0.5, 0.2]
    assert GuidedWeights(seg=3).total({"lm": torch.tensor(1.0), "mask_bce": torch.tensor(0.5)}).item() == 4
    with pytest.raises(ValueError, match="mask_bce"):
        GuidedWeights().weight_of("mask_bc")


def test_perfect_masks_cost_nothing():
    masks = F.pad(torch.ones(1, 16, 16, dtype=torch.bool), (8, 8, 8, 8))
    truth = GuidedTarget(torch.tensor([[0.25, 0.25, 0.75, 0.75]]), masks, torch.zeros(1).long())
    logits = (area_average(masks.float(), (4, 4)) - 0.5) * 200
    found = SimpleNamespace(coarse_logits=logits, logits=logits, iou=torch.ones(1))
    losses = GuidedCriterion(crop=0)(GuidedOutput(torch.tensor(0.0), [found]), batch_of(truth))
    assert all(value.item() == pytest.approx(0, abs=1e-6) for value in losses.values())
