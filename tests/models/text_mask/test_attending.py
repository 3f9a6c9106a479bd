"""What an attention layer was given tells where its tokens look."""

import copy

import pytest
import torch
from oracles.small_vlms import text_mask_parts

from mvplm.models.text_mask.attending import Looks, remembered

LENGTH, WIDTH = 6, 4


@pytest.mark.parametrize("kind", ["none", "bool", "added"])
@pytest.mark.parametrize("groups", [1, 4])
def test_weights_are_those_of_a_loop(kind: str, groups: int):
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, LENGTH, WIDTH), torch.randn(2, 4 // groups, LENGTH, WIDTH)
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(2, 1, -1, -1).clone()
    causal[1, :, :, 0] = kind == "none"
    causal |= torch.eye(LENGTH, dtype=torch.bool)
    added = torch.zeros(causal.shape).masked_fill(~causal, torch.finfo(torch.float32).min)
    mask = {"none": None, "bool": causal, "added": added}[kind]
    found = Looks(query, key, mask, 0.3).log_weights(2, heads=3).exp()
    assert found.shape == (2, 3, 2, LENGTH)
    for row in range(2):
        for head in range(3):
            for place, at in enumerate((LENGTH - 2, LENGTH - 1)):
                raw = [
                    float(torch.exp(0.3 * query[row, head, at] @ key[row, head // groups, other]))
                    if causal[row, 0, at, other]
                    else 0.0
                    for other in range(LENGTH)
                ]
                expected = torch.tensor(raw) / sum(raw)
                torch.testing.assert_close(found[row, head, place], expected, rtol=1e-4, atol=1e-6)


def test_the_layer_is_watched_only_meanwhile():
    model = copy.deepcopy(text_mask_parts("qwen3_vl").model.model).eval()
    layer = model.get_decoder().layers[1]
    ids = torch.tensor([[5, 6, 7, 8]])
    before = layer.self_attn.config
    with torch.no_grad():
        plain = model(input_ids=ids).logits
        with remembered(layer) as looks:
            watched = model(input_ids=ids).logits
        again = model(input_ids=ids).logits
    assert len(looks) == 1 and looks[0].query.shape[2] == 4
    assert layer.self_attn.config is before and not hasattr(layer.self_attn, "remembered")
    assert torch.equal(plain, watched) and torch.equal(plain, again)
