"""Orthogonalised momentum for matrices, AdamW for all else."""

import copy

import pytest
import torch
from torch import nn

from mvplm.engine import OptimizerSettings, build_optimizer, parameter_groups
from mvplm.engine.muon import orthogonalised
from mvplm.engine.optim import optimizer_tensors, restore_optimizer, set_learning_rate


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(7, 6)
        self.wide, self.tall = nn.Linear(6, 9), nn.Linear(9, 6)
        self.lm_head = nn.Linear(6, 7, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.lm_head(self.tall(torch.tanh(self.wide(self.embedding(ids)))))


def _stepped(net: Net, settings: OptimizerSettings, *, steps: int = 1, optimizer=None):
    optimizer = optimizer or build_optimizer(parameter_groups(net, settings), settings)
    set_learning_rate(optimizer, settings.lr)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.arange(7)), torch.arange(7).flip(0)).backward()
        optimizer.step()
    return optimizer


def test_only_matrices_of_hidden_layers_are_told_apart():
    groups = parameter_groups(Net(), OptimizerSettings(kind="muon"))
    assert {name for g in groups if g.matrices for name in g.names} == {"wide.weight", "tall.weight"}
    assert not any(g.matrices for g in parameter_groups(Net(), OptimizerSettings()))


@pytest.mark.parametrize("shape", [(3, 5, 8), (2, 8, 5)])
def test_singular_values_move_near_one_and_directions_stay(shape):
    torch.manual_seed(1)
    matrices = torch.randn(shape)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonalised(matrices)
    turned = u.mT @ found @ vh.mT
    values = turned.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6 and values.max() < 1.3
    assert (turned - torch.diag_embed(values)).abs().max() < 1e-4
    assert orthogonalised(torch.zeros(shape)).abs().max() == 0


def test_a_first_step_is_that_of_its_definition():
    settings = OptimizerSettings(kind="muon", lr=0.01, weight_decay=0.1)
    net = Net()
    before = copy.deepcopy(net)
    nn.functional.cross_entropy(before(torch.arange(7)), torch.arange(7).flip(0)).backward()
    _stepped(net, settings)
    # The first momentum is a multiple of the gradient, and orthogonalising takes no notice of multiples.
    update = orthogonalised(before.wide.weight.grad[None])[0]
    expected = before.wide.weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * 3 * update
    torch.testing.assert_close(net.wide.weight, expected, atol=1e-6, rtol=0)
    adam = torch.optim.AdamW([before.embedding.weight], lr=0.01, weight_decay=0.0)
    adam.step()
    torch.testing.assert_close(net.embedding.weight, before.embedding.weight)


def test_a_kernel_is_a_matrix_with_a_row_for_each_channel_it_gives():
    torch.manual_seed(0)
    convolution, linear = nn.Conv2d(4, 6, 3, bias=False), nn.Linear(36, 6, bias=False)
    with torch.no_grad():
        linear.weight.copy_(convolution.weight.flatten(1))
    settings = OptimizerSettings(kind="muon", lr=0.01, convolutions=True)
    assert not any(g.matrices for g in parameter_groups(convolution, OptimizerSettings(kind="muon")))
    patch = torch.randn(5, 4, 3, 3)
    for net, given in ((convolution, patch), (linear, patch.flatten(1))):
        optimizer = build_optimizer(parameter_groups(net, settings), settings)
        set_learning_rate(optimizer, settings.lr)
        for _ in range(3):
            optimizer.zero_grad()
            net(given).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(convolution.weight.flatten(1), linear.weight, atol=1e-5, rtol=0)


def test_going_on_from_saved_state_changes_nothing():
    settings = OptimizerSettings(kind="muon", lr=0.01)
    whole = Net()
    _stepped(whole, settings, steps=5)
    first = Net()
    optimizer = _stepped(first, settings, steps=3)
    saved = {k: v.clone() for k, v in optimizer_tensors(optimizer, parameter_groups(first, settings)).items()}
    second = copy.deepcopy(first)
    groups = parameter_groups(second, settings)
    fresh = build_optimizer(groups, settings)
    restore_optimizer(fresh, groups, tensors=saved)
    _stepped(second, settings, steps=2, optimizer=fresh)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), second.parameters(), strict=True))


def test_what_cannot_be_done_is_refused():
    settings = OptimizerSettings(kind="muon")
    with pytest.raises(ValueError, match="no closure"):
        build_optimizer(parameter_groups(Net(), settings), settings).step(lambda: 0.0)
    with pytest.raises(ValueError, match="optimiser"):
        OptimizerSettings(kind="mun")
