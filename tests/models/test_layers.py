"""Perceptron and self-attention against PyTorch's own."""

import pytest
import torch
from torch import nn

from mvplm.models.layers import MLP, SelfAttention


def test_mlp_names_and_values() -> None:
    mlp = MLP(3, 5, 2, layers=3)
    assert [(name, tuple(p.shape)) for name, p in mlp.named_parameters() if "weight" in name] == [
        ("layers.0.weight", (5, 3)),
        ("layers.1.weight", (5, 5)),
        ("layers.2.weight", (2, 5)),
    ]
    x = torch.randn(4, 3)
    hidden = mlp.layers[1](mlp.layers[0](x).relu()).relu()
    torch.testing.assert_close(mlp(x), mlp.layers[2](hidden))


def test_mlp_refuses_other_widths() -> None:
    with pytest.raises(ValueError, match="input, hidden and output"):
        MLP(3, 5)


def test_self_attention_equals_pytorch() -> None:
    torch.manual_seed(0)
    ours, theirs = SelfAttention(16, heads=4), nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(ours.in_proj_bias)
    theirs.load_state_dict(ours.state_dict())
    x, positions = torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    blocked = torch.tensor([[i > j + 1 for j in range(5)] for i in range(5)])
    for mask in (None, blocked):
        placed = x + positions
        expected, _ = theirs(placed, placed, x, attn_mask=mask, need_weights=False)
        allowed = None if mask is None else ~mask
        torch.testing.assert_close(ours(x, positions, allowed=allowed), expected, rtol=1e-5, atol=1e-5)


def test_self_attention_refuses_heads() -> None:
    with pytest.raises(ValueError, match="not divisible by 3 heads"):
        SelfAttention(16, heads=3)
