"""Parts that an ablation leaves out: their weights are gone, and nothing reads what they read."""

from dataclasses import replace

import pytest
import torch
from oracles.qwen3vl_seg import drawn_input, tiny_decoder

from mvplm.models.qwen3vl_seg.parameters import parameter_table

PARTS = {
    "injection": {"level injectors", "level fusion"},
    "image_branch": {"image stem"},
    "refinement": {"refinement"},
}


def entry():
    return drawn_input(3, 2, count=2, seed=5)


@pytest.mark.parametrize("switch", PARTS)
def test_the_weights_of_the_part_are_gone(switch):
    components = parameter_table(tiny_decoder(**{switch: False})).components
    assert {name for name, count in components.items() if not count} == PARTS[switch]


def test_without_injection_the_levels_are_not_read():
    given = entry()
    other = replace(given, levels=[level + 1 for level in given.levels])
    without, whole = tiny_decoder(injection=False), tiny_decoder()
    with torch.no_grad():
        assert torch.equal(without([given])[0].logits, without([other])[0].logits)
        assert not torch.equal(whole([given])[0].logits, whole([other])[0].logits)


def test_without_the_image_branch_the_image_is_not_read():
    given = entry()
    other = replace(given, image=-given.image)
    without, whole = tiny_decoder(image_branch=False), tiny_decoder()
    with torch.no_grad():
        assert torch.equal(without([given])[0].logits, without([other])[0].logits)
        assert not torch.equal(whole([given])[0].logits, whole([other])[0].logits)


def test_without_refinement_the_first_masks_are_the_result():
    with torch.no_grad():
        whole, without = tiny_decoder()([entry()])[0], tiny_decoder(refinement=False)([entry()])[0]
    assert torch.equal(without.logits, without.coarse_logits)
    assert not torch.equal(whole.logits, whole.coarse_logits)
    assert without.iou.shape == (2,)


@pytest.mark.parametrize("switch", PARTS)
def test_every_weight_that_is_left_learns(switch):
    decoder = tiny_decoder(**{switch: False})
    output = decoder([entry()])[0]
    (output.logits.square().mean() + output.iou.square().mean()).backward()
    assert not [name for name, parameter in decoder.named_parameters() if parameter.grad is None]
