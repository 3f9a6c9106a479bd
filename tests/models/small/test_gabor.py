"""First kernels that see colours and edges."""

import pytest
import torch
from torch import nn

from mvplm.models.small.gabor import gabor_kernels, start_with_gabor


def test_kernels_have_norm_one_and_differ():
    kernels = gabor_kernels(7).flatten(1)
    assert kernels.shape == (30, 147)
    likeness = (kernels @ kernels.T).abs()
    assert likeness.diagonal().tolist() == pytest.approx([1.0] * 30, abs=1e-5)
    # Colours come with both signs; apart from these no two kernels are the same.
    assert int((likeness > 0.95).sum()) == 30 + 6


def test_waves_answer_to_their_direction_alone():
    waves = gabor_kernels(7)[6:].unflatten(0, (4, 2, 3))[:, :, 0]
    x = torch.arange(7.0) - 3
    stripes = torch.cos(2 * torch.pi * x / 5).expand(3, 7, 7)
    energy = [float(((turn * stripes).sum((1, 2, 3)) ** 2).sum()) for turn in waves]
    assert energy[0] > 5 * max(energy[1:])
    assert waves.sum((-1, -2)).abs().max() < 1e-5


@pytest.mark.parametrize("channels", [4, 40])
def test_first_kernels_are_replaced_at_their_own_size(channels: int):
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, channels, 7, bias=False)
    before = convolution.weight.detach().clone()
    start_with_gabor(convolution)
    kept = min(channels, 30)
    norm = before.flatten(1).norm(dim=1).mean()
    assert torch.allclose(convolution.weight[:kept], gabor_kernels(7)[:kept] * norm, atol=1e-6)
    assert torch.equal(convolution.weight[kept:], before[kept:]) and convolution.weight.requires_grad
