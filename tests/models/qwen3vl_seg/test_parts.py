"""The decoder's parts against plain loops, and their golden numbers."""

import pytest
import torch
from oracles import qwen3vl_seg as oracle

from mvplm.models.qwen3vl_seg.masks import pooled_features
from mvplm.models.qwen3vl_seg.pixels import SubPixelUpsampler, box_gate
from mvplm.models.qwen3vl_seg.queries import box_coordinates, fourier_features

BOX = [0.2, 0.3, 0.6, 0.8]


def near(first, second, atol=1e-5) -> bool:
    return torch.allclose(torch.as_tensor(first).double(), torch.as_tensor(second).double(), atol=atol, rtol=0)


def test_box_coordinates_and_first_band():
    scalars = box_coordinates(torch.tensor([BOX]))
    assert near(scalars, [[0.2, 0.3, 0.316742, 0.361371]], atol=1e-6)
    features = fourier_features(torch.tensor([0.2]), bands=64, max_octave=9)
    assert features.shape == (1, 128)
    assert near(features[0, [0, 64]], [0.587785, 0.809017], atol=1e-6)


@pytest.mark.parametrize(("bands", "octave"), [(8, 4), (64, 9)])
def test_fourier_features(bands, octave):
    boxes = torch.cat([torch.tensor([BOX, [0.0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5]]), oracle.random_boxes(5, _generator())])
    found = fourier_features(box_coordinates(boxes), bands=bands, max_octave=octave).flatten(1)
    wanted = [oracle.box_embedding(box, bands=bands, max_octave=octave) for box in boxes.tolist()]
    assert near(found, wanted)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(
    ("point", "image", "box"),
    [
        ((0.4, 0.55), 0.973986, 0.999959),
        ((0.2, 0.55), 0.641448, 0.817558),
        ((0.0, 0.0), 0.000169, 0.0),
        ((0.63, 0.8375), 0.249972, 0.25),
    ],
)
def test_the_gate_at_points(point, image, box):
    assert oracle.gate_at(BOX, *point, frame="image") == pytest.approx(image, abs=1e-6)
    assert oracle.gate_at(BOX, *point, frame="box") == pytest.approx(box, abs=1e-6)


@pytest.mark.parametrize("frame", ["image", "box"])
@pytest.mark.parametrize("size", [(8, 12), (4, 20), (20, 4), (1, 1)])
def test_the_gate_everywhere(frame, size):
    boxes = torch.cat(
        [torch.tensor([BOX, [0.0, 0, 1, 1], [0.4, 0.4, 0.42, 0.9]]), oracle.random_boxes(3, _generator())]
    )
    assert near(box_gate(boxes, size, frame=frame), oracle.gate_map(boxes, size, frame=frame))


def test_slope_and_enlargement_of_the_gate():
    found = box_gate(torch.tensor([BOX]), (1, 1), slope=5.0, enlarge=2.0)
    assert found.item() == pytest.approx(oracle.gate_at(BOX, 0.5, 0.5, frame="image", slope=5, enlarge=2), abs=1e-6)


def test_small_boxes_keep_a_strong_gate_in_their_own_frame_only():
    centres = [box_gate(torch.tensor([[0.475, 0.475, 0.525, 0.525]]), (1, 1), frame=f).item() for f in ("image", "box")]
    assert centres == pytest.approx([0.168, 1.0], abs=1e-3)


def test_joint_gates_are_the_maximum():
    decoder = oracle.tiny_decoder()
    boxes = torch.tensor([BOX, [0.1, 0.1, 0.7, 0.9]])
    each = box_gate(boxes, (8, 8))
    assert torch.equal(decoder.pixels.gate(boxes, (8, 8)), torch.maximum(each[0], each[1])[None])
    assert torch.equal(oracle.tiny_decoder(gate_mode="instance").pixels.gate(boxes, (8, 8)), each)


def test_an_unknown_frame_names_the_known():
    with pytest.raises(ValueError, match="did you mean 'image'"):
        box_gate(torch.tensor([BOX]), (1, 1), frame="imge")


def test_dynamic_mask():
    decoder, generator = oracle.tiny_decoder(), _generator()
    queries, pixels = torch.randn(3, 32, generator=generator), torch.randn(3, 32, 4, 6, generator=generator)
    shared = [oracle.dynamic_mask(decoder.mask.kernel, query, pixels[0]) for query in queries]
    own = [oracle.dynamic_mask(decoder.mask.kernel, query, maps) for query, maps in zip(queries, pixels, strict=True)]
    assert near(decoder.mask(queries, pixels[:1]), torch.stack(shared))
    assert near(decoder.mask(queries, pixels), torch.stack(own))


def test_pooled_features_and_refinement():
    decoder, generator = oracle.tiny_decoder(), _generator()
    logits, pixels = torch.randn(3, 4, 6, generator=generator) * 3, torch.randn(3, 32, 4, 6, generator=generator)
    queries = torch.randn(3, 32, generator=generator)
    shared = torch.stack([oracle.pooled(mask, pixels[0]) for mask in logits])
    own = torch.stack([oracle.pooled(mask, maps) for mask, maps in zip(logits, pixels, strict=True)])
    assert near(pooled_features(logits, pixels[:1]), shared)
    assert near(pooled_features(logits, pixels), own)
    refined = decoder.refine.norm(queries + decoder.refine.target(own))
    assert near(decoder.refine(queries, logits, pixels=pixels), refined)


def test_pooling_one_pixel_and_none():
    pixels = torch.randn(1, 5, 3, 3, generator=_generator())
    logits = torch.full((2, 3, 3), -float("inf"))
    logits[0, 1, 2] = float("inf")
    found = pooled_features(logits, pixels)
    assert near(found[0], pixels[0, :, 1, 2]) and torch.equal(found[1], torch.zeros(5))


def test_query_layers_with_and_without_padding():
    decoder, generator = oracle.tiny_decoder(layers=2), _generator()
    queries = [torch.randn(k, 32, generator=generator) for k in (3, 1)]
    memories = [torch.randn(v, 32, generator=generator) for v in (4, 6)]
    found = decoder.attention(queries, memories)
    for own, memory, got in zip(queries, memories, found, strict=True):
        for layer in decoder.attention.layers:
            own = oracle.query_layer(layer, own, memory)
        assert near(got, own)


def test_without_its_scale_an_injector_is_its_projection():
    injector = oracle.tiny_decoder().memory.injectors[0]
    with torch.no_grad():
        injector.scale.zero_()
    level = torch.randn(1, 64, 2, 3, generator=_generator())
    assert torch.equal(injector(level), injector.projection(level))


def test_a_new_upsampler_draws_no_checkerboard():
    torch.manual_seed(0)
    flat = SubPixelUpsampler(8)(torch.ones(1, 8, 7, 7))[0, :, 8:20, 8:20]
    assert near(flat, flat[:, :1, :1].expand_as(flat), atol=1e-6)
