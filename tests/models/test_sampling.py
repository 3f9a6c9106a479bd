"""Samples of maps by the kernel against torch's grid_sample; a group norm that keeps its speed in every format."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mvplm.models.layers import GroupNorm
from mvplm.models.ops import sample_maps


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_samples_and_gradients_are_those_of_grid_sample(memory_format):
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 5, 7).contiguous(memory_format=memory_format).requires_grad_()
    edges = torch.tensor([[0.0, 0], [1, 1], [0, 1], [0.5, 0.5], [-0.05, 0.3], [0.4, 1.02]])
    points = torch.cat([torch.rand(2, 20, 2), edges.expand(2, -1, -1)], dim=1)
    expected = F.grid_sample(maps, 2 * points[:, None] - 1, align_corners=False).squeeze(2)
    samples = sample_maps(maps, points)
    torch.testing.assert_close(samples, expected)
    probe = torch.randn(expected.shape)
    found, wanted = (torch.autograd.grad(x, maps, probe)[0] for x in (samples, expected))
    torch.testing.assert_close(found, wanted)


def test_samples_of_16_bit_maps_are_float32():
    samples = sample_maps(torch.ones(1, 8, 4, 4, dtype=torch.bfloat16), torch.full((1, 3, 2), 0.5))
    assert samples.dtype == torch.float32 and samples.shape == (1, 8, 3) and bool((samples == 1).all())


def test_group_norm_is_the_same_in_every_memory_format():
    torch.manual_seed(0)
    maps = torch.randn(2, 8, 3, 5)
    ours, plain = GroupNorm(4, 8), nn.GroupNorm(4, 8)
    found = ours(maps.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, plain(maps))
    assert found.is_contiguous() and list(ours.state_dict()) == list(plain.state_dict())
