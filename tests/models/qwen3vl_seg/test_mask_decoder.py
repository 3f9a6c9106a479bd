"""The whole decoder: against plain steps, in batches, with gradients, and what does not fit."""

from dataclasses import replace

import pytest
import torch
from oracles import qwen3vl_seg as oracle

from mvplm.models.qwen3vl_seg import BoxGuidedMaskDecoder, DecoderOutput
from mvplm.models.qwen3vl_seg.bases import base_config

FIELDS = ("coarse_logits", "logits", "iou", "queries")
# Odd sizes: a single token, five to one both ways, three of one grid.
SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (2, 3), (2, 3), (3, 2)]
COUNTS = [1, 3, 2, 4, 0, 1, 2]


def batch():
    pairs = enumerate(zip(SIZES, COUNTS, strict=True))
    return [oracle.drawn_input(*size, count=count, seed=seed) for seed, (size, count) in pairs]


def same(first: DecoderOutput, second: DecoderOutput) -> bool:
    return all(torch.allclose(getattr(first, f), getattr(second, f), atol=1e-5, rtol=0) for f in FIELDS)


@pytest.mark.parametrize("frame", ["image", "box"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1)])
@torch.no_grad()
def test_the_whole_decoder_step_by_step(frame, size):
    decoder = oracle.tiny_decoder(gate_frame=frame)
    entry = oracle.drawn_input(*size, count=2, seed=9)
    (found,) = decoder([entry])
    for name, wanted in oracle.decode(decoder, entry).items():
        assert torch.allclose(getattr(found, name), wanted, atol=1e-5, rtol=0), name


@pytest.mark.parametrize("mode", ["union", "instance"])
@torch.no_grad()
def test_a_batch_is_its_images_one_by_one(mode):
    decoder, entries = oracle.tiny_decoder(gate_mode=mode), batch()
    together = decoder(entries)
    for entry, found in zip(entries, together, strict=True):
        assert same(found, decoder([entry])[0])
    assert [found.logits.shape for found in together] == [
        (count, 4 * height, 4 * width) for count, (height, width) in zip(COUNTS, SIZES, strict=True)
    ]


@pytest.mark.parametrize("mode", ["union", "instance"])
@torch.no_grad()
def test_the_order_of_instances_changes_nothing(mode):
    decoder, entry = oracle.tiny_decoder(gate_mode=mode), oracle.drawn_input(2, 3, count=5, seed=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    moved = replace(entry, boxes=entry.boxes[order], mask_states=entry.mask_states[order])
    (first,), (second,) = decoder([entry]), decoder([moved])
    for name in FIELDS:
        assert torch.allclose(getattr(first, name)[order], getattr(second, name), atol=1e-5, rtol=0)


@torch.no_grad()
def test_instances_are_joint_unless_asked_to_be_independent():
    entry = oracle.drawn_input(2, 3, count=3, seed=2)
    alone = replace(entry, boxes=entry.boxes[:1], mask_states=entry.mask_states[:1])
    for settings, expected in (({}, False), ({"independent": True, "gate_mode": "instance"}, True)):
        decoder = oracle.tiny_decoder(**settings)
        (both,), (one,) = decoder([entry]), decoder([alone])
        assert torch.allclose(both.logits[:1], one.logits, atol=1e-5, rtol=0) is expected
    decoder = oracle.tiny_decoder(independent=True, gate_mode="instance")
    assert same(decoder([entry, alone])[1], decoder([alone])[0])


@torch.no_grad()
def test_more_instances_than_fit_are_decoded_in_chunks():
    decoder, entry = oracle.tiny_decoder(), oracle.drawn_input(1, 2, count=33, seed=3)
    (found,) = decoder([entry])
    assert found.chunks == 2 and found.logits.shape == (33, 4, 8)
    first = replace(entry, boxes=entry.boxes[:32], mask_states=entry.mask_states[:32])
    assert torch.allclose(found.logits[:32], decoder([first])[0].logits, atol=1e-5, rtol=0)


def test_no_images_and_no_instances():
    decoder = oracle.tiny_decoder()
    assert decoder([]) == []
    (found,) = decoder([oracle.drawn_input(2, 3, count=0, seed=0)])
    assert found.logits.shape == (0, 8, 12) and found.iou.shape == (0,) and found.queries.shape == (0, 32)
    assert found.masks((7, 9)).shape == (0, 7, 9)


@pytest.mark.parametrize("mode", ["union", "instance"])
def test_gradients_reach_every_parameter(mode):
    decoder = oracle.tiny_decoder(gate_mode=mode)
    entries = [oracle.drawn_input(2, 3, count=2, seed=4), oracle.drawn_input(1, 2, count=1, seed=5)]
    for entry in entries:
        for tensor in (*entry.levels, entry.image_states, entry.mask_states):
            tensor.requires_grad_()
    found = decoder(entries)
    sum(output.logits.square().mean() for output in found).backward()
    silent = [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == ["iou.weight", "iou.bias"]
    for entry in entries:
        assert all(t.grad.abs().sum() > 0 for t in (*entry.levels, entry.image_states, entry.mask_states))
    sum(output.iou.sum() for output in decoder(entries)).backward()
    assert all(p.grad.abs().sum() > 0 for p in decoder.iou.parameters())


def test_a_new_decoder_draws_little():
    torch.manual_seed(0)
    decoder = BoxGuidedMaskDecoder.from_base_config(base_config(oracle.TINY), **oracle.decoder_settings(oracle.TINY))
    (found,) = decoder([oracle.drawn_input(2, 3, count=2, seed=6)])
    assert decoder.mask.kernel[-1].bias[-1] == -2 and not found.masks((64, 96)).any()
    assert [injector.scale.item() for injector in decoder.memory.injectors] == [pytest.approx(1e-3)] * 4


@torch.no_grad()
def test_masks_and_scores_of_an_output():
    logits = torch.tensor([[[-1.0, 1.0], [-1.0, 1.0]]])
    found = DecoderOutput(logits, logits, torch.tensor([1.5]), torch.zeros(1, 4))
    assert found.scores.tolist() == [1.0]
    assert found.masks((3, 4))[0].tolist() == [[False, False, True, True]] * 3


@torch.no_grad()
def test_half_precision_stays_close():
    decoder, entry = oracle.tiny_decoder(), oracle.drawn_input(1, 2, count=2, seed=7)
    wanted = decoder([entry])[0].logits
    half = replace(
        entry,
        levels=[level.bfloat16() for level in entry.levels],
        image_states=entry.image_states.bfloat16(),
        mask_states=entry.mask_states.bfloat16(),
    )
    (found,) = decoder.bfloat16()([half])
    assert found.logits.dtype == torch.bfloat16
    assert (found.logits.float() - wanted).abs().max() < 0.1 * wanted.abs().max()


def changed(**fields):
    return lambda: replace(oracle.drawn_input(2, 3, count=2, seed=0), **fields)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (changed(image=torch.zeros(3, 64, 64)), r"image must be \(3, 64, 96\)"),
        (changed(levels=[torch.zeros(64, 3, 2)]), "levels must be"),
        (changed(image_states=torch.zeros(64, 6)), r"image_states must be \(D, h, w\)"),
        (changed(mask_states=torch.zeros(2, 32)), r"mask_states must be \(k, 64\)"),
        (changed(boxes=torch.zeros(3, 4)), r"boxes must be \(2, 4\)"),
        (changed(boxes=torch.tensor([[0.0, 0, 100, 100]] * 2)), "XYXY_NORM"),
        (changed(boxes=torch.full((2, 4), float("nan"))), "finite"),
        (lambda: oracle.tiny_decoder()([replace(batch()[0], levels=batch()[0].levels[:3])]), "4 levels of width 64"),
        (lambda: oracle.tiny_decoder(gate_frame="imagee"), "did you mean 'image'"),
        (lambda: oracle.tiny_decoder(gate_mod="union"), "did you mean 'gate_mode'"),
        (lambda: oracle.tiny_decoder(heads=5), "heads must divide width"),
        (lambda: oracle.tiny_decoder(groups=5), "groups must divide"),
        (lambda: oracle.tiny_decoder(stem_channels=(8, 8)), "three numbers"),
        (lambda: oracle.tiny_decoder(bands=1), "bands at least 2"),
        (lambda: oracle.tiny_decoder(gate_enlarge=0.5), "gate_enlarge"),
        (lambda: BoxGuidedMaskDecoder.from_base_config(object()), "configuration of a Qwen3-VL"),
    ],
)
def test_what_does_not_fit_is_an_error(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_base_with_other_tokens_is_an_error():
    config = base_config(oracle.TINY)
    config.vision_config.patch_size = 14
    with pytest.raises(ValueError, match="must be 32, got 28"):
        BoxGuidedMaskDecoder.from_base_config(config)
    config = base_config(oracle.TINY)
    config.vision_config.out_hidden_size = 32
    with pytest.raises(ValueError, match="got 32 and 64"):
        BoxGuidedMaskDecoder.from_base_config(config)
