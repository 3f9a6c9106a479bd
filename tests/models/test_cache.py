"""The growing cache against transformers' own."""

import pytest
import torch
from torch import nn
from transformers import DynamicCache, PhiConfig
from transformers.activations import ACT2FN
from transformers.cache_utils import DynamicLayer

from mvplm.models.cache import GrowingLayer, make_cache
from mvplm.models.language import fuse_gelu


def states(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, *shape), torch.randn(2, 3, *shape)


def test_it_holds_what_it_was_given_through_every_change() -> None:
    torch.manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()
    for count in (5, 1, 1, 3, 9, 1):
        given = states(count, 4)
        for own, other in zip(ours.update(*given), theirs.update(*given), strict=True):
            assert torch.equal(own, other)
    for layer in (ours, theirs):
        layer.batch_select_indices(torch.tensor([1, 0, 1]))
        layer.crop(-2)
    more = (torch.randn(3, 3, 2, 4), torch.randn(3, 3, 2, 4))
    for own, other in zip(ours.update(*more), theirs.update(*more), strict=True):
        assert torch.equal(own, other)
    assert ours.get_seq_length() == theirs.get_seq_length() == 20


def test_it_seldom_moves_and_leaves_what_it_returned_alone() -> None:
    torch.manual_seed(0)
    layer, places, returned = GrowingLayer(), set(), []
    for _ in range(200):
        keys, _ = layer.update(*states(1, 4))
        places.add(keys.data_ptr())
        returned.append((keys, keys.clone()))
    assert len(places) < 16
    assert all(torch.equal(kept, copy) for kept, copy in returned)


def test_every_plain_layer_of_a_model_grows() -> None:
    cache = make_cache(PhiConfig(num_hidden_layers=3, hidden_size=8, num_attention_heads=2))
    assert isinstance(cache, DynamicCache) and [type(layer) for layer in cache.layers] == [GrowingLayer] * 3


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_a_fused_gelu_is_the_same_function(dtype: torch.dtype, close: float) -> None:
    model = nn.ModuleDict({"act": ACT2FN["gelu_new"], "other": nn.ReLU()})
    values = torch.linspace(-6, 6, 997, dtype=dtype)
    expected = model["act"](values.double())
    fuse_gelu(model)
    assert type(model["act"]) is nn.GELU and type(model["other"]) is nn.ReLU
    torch.testing.assert_close(model["act"](values).double(), expected, rtol=close, atol=close)
