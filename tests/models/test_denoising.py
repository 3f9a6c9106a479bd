"""Denoising queries: places, noise, mask."""

import pytest
import torch

from mvplm.models.denoising import DenoisingSettings, build_denoising, denoising_layout, denoising_mask
from mvplm.structures import Target

LAYOUTS = [
    (1, 100, 100),
    (3, 33, 99),
    (33, 3, 99),
    (34, 2, 68),
    (50, 2, 100),
    (51, 1, 51),
    (100, 1, 100),
    (101, 1, 100),
]


def target(labels: list[int], seed: int = 0) -> Target:
    count = len(labels)
    boxes = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) * 0.3 + 0.2
    return Target(torch.tensor(labels, dtype=torch.long), boxes, None, torch.zeros(count, dtype=torch.bool))


# Golden G34.
@pytest.mark.parametrize(("most", "groups", "total"), LAYOUTS)
def test_layout(most: int, groups: int, total: int) -> None:
    found, slots = denoising_layout(most, DenoisingSettings())
    assert (found, found * slots) == (groups, total)


# Golden G34.
def test_layout_without_denoising() -> None:
    assert denoising_layout(0, DenoisingSettings()) == (0, 0)
    assert denoising_layout(101, DenoisingSettings(overflow="skip")) == (0, 0)
    assert denoising_layout(5, DenoisingSettings(budget=0)) == (0, 0)


# Golden G35.
def test_mask_counts_and_blocks() -> None:
    mask = denoising_mask(25, 4, matching=100, device="cpu")
    assert mask.shape == (200, 200) and int(mask.sum()) == 19_600
    mask = denoising_mask(2, 3, matching=2, device="cpu")
    for row in range(8):
        for column in range(8):
            other_copy = column < 6 and (row >= 6 or row // 3 != column // 3)
            assert bool(mask[row, column]) == other_copy


def test_places_content_and_boxes() -> None:
    text = torch.randn(2, 3, 4, requires_grad=True)
    targets = [target([2, 0, 1]), target([1], seed=1)]
    settings = DenoisingSettings(budget=7, box_noise=0.0)
    found = build_denoising(targets, text, name_mask=torch.ones(2, 3, dtype=torch.bool), settings=settings)
    assert (found.groups, found.slots, len(found)) == (2, 3, 6)
    assert found.target_index.tolist() == [[0, 1, 2], [0, -1, -1]]
    for group in range(2):
        for j, label in enumerate([2, 0, 1]):
            assert torch.equal(found.queries.content[0, group * 3 + j], text[0, label])
            boxes = found.queries.references[0, group * 3 + j].sigmoid()
            assert torch.allclose(boxes, targets[0].boxes[j], atol=1e-5)
        assert found.queries.content[1, group * 3 + 1 : group * 3 + 3].abs().sum() == 0
        assert found.queries.references[1, group * 3 + 1 : group * 3 + 3].abs().sum() == 0
    found.queries.content.sum().backward()
    assert text.grad[1, 1].tolist() == [2.0] * 4 and text.grad[1, 0].tolist() == [0.0] * 4


def test_noise_stays_within_its_reach_and_differs_between_copies() -> None:
    truth = target([0] * 10)
    found = build_denoising(
        [truth], torch.randn(1, 1, 4), name_mask=torch.ones(1, 1, dtype=torch.bool), settings=DenoisingSettings()
    )
    boxes = found.queries.references.sigmoid().unflatten(1, (10, 10))[0]
    sides = truth.boxes[:, 2:]
    assert ((boxes[..., :2] - truth.boxes[:, :2]).abs() <= 0.2 * sides + 1e-4).all()
    assert ((boxes[..., 2:] - sides).abs() <= 0.4 * sides + 1e-4).all()
    assert (boxes[0] - boxes[1]).abs().min() > 0


def test_labels_flip_to_real_names_only() -> None:
    text = torch.arange(4.0)[None, :, None].repeat(1, 1, 2)
    settings = DenoisingSettings(budget=100, label_noise=1.0)
    mask = torch.tensor([[True, True, True, False]])
    content = build_denoising([target([0])], text, name_mask=mask, settings=settings).queries.content
    assert set(content[0, :, 0].tolist()) == {0.0, 1.0, 2.0}


def test_more_targets_than_the_budget_are_subsampled_without_repetition() -> None:
    found = build_denoising(
        [target(list(range(12))), target([0, 1])],
        torch.randn(2, 12, 4),
        name_mask=torch.ones(2, 12, dtype=torch.bool),
        settings=DenoisingSettings(budget=5),
    )
    chosen = found.target_index[0].tolist()
    assert len(set(chosen)) == 5 and set(chosen) <= set(range(12))
    assert found.target_index[1].tolist() == [0, 1, -1, -1, -1]
    kept = found.queries.content[0]
    assert kept.shape == (5, 4)


def test_no_targets_means_no_denoising() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert build_denoising([target([])], torch.randn(1, 2, 4), name_mask=mask, settings=DenoisingSettings()) is None


def test_unknown_overflow_is_explained() -> None:
    with pytest.raises(ValueError, match="did you mean 'skip'"):
        DenoisingSettings(overflow="skipp")
