"""The score of a class is that of the best of its names."""

import pytest
import torch

from mvplm.postprocess.synonyms import group_maximum, merge_synonyms
from mvplm.structures.outputs import PerceptionOutput


def logits(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_one_name_each_changes_nothing():
    values = logits(1, 2, 5, 4)
    groups = torch.arange(3).expand(2, 3)
    assert torch.equal(group_maximum(values, groups, count=3), values)


@pytest.mark.parametrize("rest", [0, 1])
def test_against_a_plain_loop(rest):
    groups = torch.tensor([[0, 0, 1, 2, 2], [1, 0, 1, -1, -1]])
    values = logits(1, 2, 4, 5 + rest)
    found = group_maximum(values, groups, count=3)
    assert found.shape == (1, 2, 4, 3 + rest)
    for row in range(2):
        for query in range(4):
            for group in range(3):
                own = [values[0, row, query, k].item() for k in range(5) if groups[row, k] == group]
                assert found[0, row, query, group].item() == max(own, default=-float("inf"))
    assert torch.equal(found[..., 3:], values[..., 5:])


def test_the_order_of_names_does_not_matter():
    values, groups = logits(1, 1, 6, 6), torch.tensor([[0, 1, 1, 2, 0]])
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    shuffled = torch.cat([values[..., :5][..., order], values[..., 5:]], -1)
    assert torch.equal(group_maximum(values, groups, count=3), group_maximum(shuffled, groups[:, order], count=3))


def test_predictions_and_batch_speak_of_classes():
    from dataclasses import dataclass

    @dataclass
    class Asked:
        names: list
        isthing: torch.Tensor
        name_mask: torch.Tensor

    flags = torch.tensor([[True, True, False], [False, True, False]])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    output = PerceptionOutput.of(logits(2, 3, 4), torch.rand(2, 3, 4))
    output.isthing, output.name_mask = flags, mask
    classes = {"car": "car", "van": "car", "sky": "sky"}
    changed, batch = merge_synonyms(
        output, Asked([("car", "van", "sky"), ("sky", "car")], flags, mask), classes=classes
    )
    assert batch.names == [("car", "sky"), ("sky", "car")]
    assert changed.isthing.tolist() == [[True, False], [False, True]] and batch.name_mask.all()
    assert torch.equal(changed.logits[0, 0, :, 0], output.logits[0, 0, :, :2].amax(-1))
    assert torch.equal(changed.logits[0, 1, :, :2], output.logits[0, 1, :, :2])
    assert torch.equal(changed.logits[..., -1], output.logits[..., -1])
