"""Deformable attention against loops, against transformers, and at its start values."""

import math

import pytest
import torch
from oracles.deformable import deformable_attention
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention as FamilyAttention,
)
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention as family_function

from mvplm.models.ops import MultiScaleDeformableAttention, multi_scale_deformable_attention
from mvplm.models.ops.backends import BACKENDS
from mvplm.models.ops.registration import AttentionInputs

SHAPES = [(4, 6), (2, 3)]
each_backend = pytest.mark.parametrize("backend", ["reference", "numba"])


def _inputs(dtype: torch.dtype = torch.float32, queries: int = 3) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    value = torch.randn(2, 30, 2, 4, dtype=dtype)
    locations = torch.rand(2, queries, 2, 2, 3, 2, dtype=dtype) * 1.6 - 0.3
    weights = torch.rand(2, queries, 2, 2, 3, dtype=dtype)
    return tuple(x.requires_grad_() for x in (value, locations, weights))


def _run(value: torch.Tensor, locations: torch.Tensor, weights: torch.Tensor, *, backend: str) -> torch.Tensor:
    return multi_scale_deformable_attention(
        value, SHAPES, sampling_locations=locations, attention_weights=weights, backend=backend
    )


@each_backend
def test_equals_loops(backend: str) -> None:
    value, locations, weights = _inputs()
    expected = deformable_attention(value, SHAPES, locations=locations, weights=weights)
    torch.testing.assert_close(_run(value, locations, weights, backend=backend), expected, rtol=1e-5, atol=1e-5)


@each_backend
def test_equals_the_family_in_values_and_gradients(backend: str) -> None:
    inputs = _inputs(queries=7)
    ours, theirs = _run(*inputs, backend=backend), family_function(inputs[0], SHAPES, inputs[1], inputs[2])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    probe = torch.randn_like(ours)
    gradients = torch.autograd.grad(theirs, inputs, probe)
    for mine, other in zip(torch.autograd.grad(ours, inputs, probe), gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@each_backend
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_module_equals_the_family_module(boxes: bool, padded: bool, backend: str) -> None:
    torch.manual_seed(1)
    ours = MultiScaleDeformableAttention(16, levels=2, heads=4, points=3, backend=backend)
    theirs = FamilyAttention(16, 4, 2, 3)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict())
    query, memory = torch.randn(2, 5, 16, requires_grad=True), torch.randn(2, 30, 16, requires_grad=True)
    references = torch.rand(2, 5, 2, 4 if boxes else 2)
    padding = torch.rand(2, 30) > 0.6 if padded else None
    mine = ours(query, memory, spatial_shapes=SHAPES, references=references, padding=padding)
    other, _ = theirs(
        query,
        attention_mask=padding,
        encoder_hidden_states=memory,
        reference_points=references,
        spatial_shapes_list=SHAPES,
    )
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    probe = torch.randn_like(mine)
    leaves = [query, memory, *ours.parameters()]
    others = [query, memory, *(dict(theirs.named_parameters())[name] for name, _ in ours.named_parameters())]
    gradients = zip(torch.autograd.grad(mine, leaves, probe), torch.autograd.grad(other, others, probe), strict=True)
    for one, two in gradients:
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_one_reference_serves_all_levels() -> None:
    torch.manual_seed(2)
    module = MultiScaleDeformableAttention(8, levels=2, heads=2, points=2)
    query, memory, references = torch.randn(1, 3, 8), torch.randn(1, 30, 8), torch.rand(1, 3, 1, 4)
    shared = module(query, memory, spatial_shapes=SHAPES, references=references)
    spelled = module(query, memory, spatial_shapes=SHAPES, references=references.expand(-1, -1, 2, -1))
    torch.testing.assert_close(shared, spelled)


# Golden G7.
def test_start_values() -> None:
    module = MultiScaleDeformableAttention(16, levels=4, heads=8, points=4)
    offsets = module.sampling_offsets.bias.view(8, 4, 4, 2)
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for head, direction in enumerate(directions):
        for point in range(4):
            expected = torch.tensor(direction, dtype=torch.float32) * (point + 1)
            torch.testing.assert_close(offsets[head, :, point], expected.expand(4, 2), rtol=0, atol=1e-5)
    assert not module.sampling_offsets.weight.any() and not module.attention_weights.weight.any()


# Golden G7.
def test_start_weights_and_box_reference_sampling_place(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def spy(inputs: AttentionInputs) -> torch.Tensor:
        seen.update(locations=inputs.locations, weights=inputs.weights)
        return inputs.value.flatten(2)[:, :1]

    monkeypatch.setitem(BACKENDS, "reference", spy)
    module = MultiScaleDeformableAttention(16, levels=4, heads=8, points=4, backend="reference")
    shapes = [(8, 8), (4, 4), (2, 2), (1, 1)]
    box = torch.tensor([0.4, 0.6, 0.2, 0.1])
    module(torch.randn(1, 1, 16), torch.randn(1, 85, 16), spatial_shapes=shapes, references=box.view(1, 1, 1, 4))
    assert seen["weights"].shape == (1, 1, 8, 4, 4)
    torch.testing.assert_close(seen["weights"], torch.full((1, 1, 8, 4, 4), 1 / 16))
    torch.testing.assert_close(seen["locations"][0, 0, 0, :, 3], torch.tensor([[0.4 + 0.1, 0.6]]).expand(4, 2))


# Golden G8.
@each_backend
@pytest.mark.parametrize(("u", "expected"), [(0.5, 3.5), (0.25, 1.5), (0.9375, 7.0), (0.0625, 0.0)])
def test_ramp(u: float, expected: float, backend: str) -> None:
    value = torch.arange(8.0).repeat(4).view(1, 32, 1, 1)
    place = torch.tensor([u, 0.5]).view(1, 1, 1, 1, 1, 2)
    result = multi_scale_deformable_attention(
        value, [(4, 8)], sampling_locations=place, attention_weights=torch.ones(1, 1, 1, 1, 1), backend=backend
    )
    assert result.item() == pytest.approx(expected, abs=1e-5)


# Golden G8.
@each_backend
@pytest.mark.parametrize(("place", "expected"), [((0.0, 0.5), 0.5), ((0.0, 0.0), 0.25), ((-0.0625, 0.5), 0.0)])
def test_zero_outside(place: tuple[float, float], expected: float, backend: str) -> None:
    result = multi_scale_deformable_attention(
        torch.ones(1, 64, 1, 1),
        [(8, 8)],
        sampling_locations=torch.tensor(place).view(1, 1, 1, 1, 1, 2),
        attention_weights=torch.ones(1, 1, 1, 1, 1),
        backend=backend,
    )
    assert result.item() == pytest.approx(expected, abs=1e-6)


def test_stays_float32_under_autocast() -> None:
    torch.manual_seed(3)
    module = MultiScaleDeformableAttention(8, levels=2, heads=2, points=2)
    nn.init.normal_(module.sampling_offsets.weight)
    # A ramp that bfloat16 cannot resolve: places have to be exact although the layers run in lower precision.
    nn.init.eye_(module.value_proj.weight)
    nn.init.eye_(module.output_proj.weight)
    query, references = torch.randn(1, 6, 8), torch.rand(1, 6, 1, 2)
    memory = torch.ones(1, 30, 8) * (torch.arange(30.0) % 2)[None, :, None]
    plain = module(query, memory, spatial_shapes=SHAPES, references=references)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module(query, memory, spatial_shapes=SHAPES, references=references)
        value = torch.ones(1, 30, 2, 4, dtype=torch.bfloat16)
        place, weight = torch.full((1, 1, 2, 2, 1, 2), 0.5), torch.ones(1, 1, 2, 2, 1)
        raw = multi_scale_deformable_attention(value, SHAPES, sampling_locations=place, attention_weights=weight)
    assert raw.dtype == torch.float32
    torch.testing.assert_close(mixed.float(), plain, rtol=2**-7, atol=2**-8)


def test_padding_counts_as_zero() -> None:
    torch.manual_seed(4)
    module = MultiScaleDeformableAttention(8, levels=2, heads=2, points=2)
    query, memory, references = torch.randn(1, 4, 8), torch.randn(1, 30, 8), torch.rand(1, 4, 1, 2)
    padding = torch.arange(30)[None] % 3 == 0
    noisy = torch.where(padding[..., None], torch.full_like(memory, 1e4), memory)
    args = {"spatial_shapes": SHAPES, "references": references, "padding": padding}
    torch.testing.assert_close(module(query, memory, **args), module(query, noisy, **args))


def test_errors_name_the_choices() -> None:
    value, locations, weights = _inputs()
    args = {"sampling_locations": locations, "attention_weights": weights}
    with pytest.raises(ValueError, match="did you mean 'reference'"):
        multi_scale_deformable_attention(value, SHAPES, backend="referense", **args)
    with pytest.raises(ValueError, match=r"16 cells, the value has 30"):
        multi_scale_deformable_attention(value, [(4, 4)], **args)
    with pytest.raises(ValueError, match=r"do not fit the value \(2, 30, 2, 4\) and its 1 levels"):
        multi_scale_deformable_attention(value, [(5, 6)], **args)
    with pytest.raises(ValueError, match=r"locations must be \(2, 3, 2, 2, 3, 2\), got \(2, 3, 2, 2, 3\)"):
        multi_scale_deformable_attention(value, SHAPES, sampling_locations=weights, attention_weights=weights)
    with pytest.raises(ValueError, match=r"must be \(B, N, heads, dim\)"):
        multi_scale_deformable_attention(value[0], SHAPES, **args)
    with pytest.raises(ValueError, match="not divisible by 3 heads"):
        MultiScaleDeformableAttention(16, heads=3)
    with pytest.raises(ValueError, match="points .2. or boxes .4."):
        MultiScaleDeformableAttention(8, levels=2, heads=2, points=2)(
            torch.zeros(1, 1, 8), torch.zeros(1, 30, 8), spatial_shapes=SHAPES, references=torch.zeros(1, 1, 1, 3)
        )


def test_direction_of_the_diagonal_heads_is_exact() -> None:
    module = MultiScaleDeformableAttention(12, levels=1, heads=6, points=1)
    offsets = module.sampling_offsets.bias.view(6, 2)
    torch.testing.assert_close(offsets[1], torch.tensor([1 / math.sqrt(3), 1.0]), rtol=0, atol=1e-6)
