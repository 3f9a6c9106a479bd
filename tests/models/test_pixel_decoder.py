"""Pixel decoder: sizes, names, padding, batches."""

import pytest
import torch
from torch import nn

from mvplm.models.encoder_layer import EncoderLayer
from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention
from mvplm.models.pixel_decoder import PixelDecoder

CHANNELS = {4: 6, 8: 8, 16: 10, 32: 12}
FRAME = (128, 128)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _decoder(**settings: object) -> PixelDecoder:
    torch.manual_seed(0)
    decoder = PixelDecoder(CHANNELS, width=32, mask_width=16, layers=2, heads=4, points=2, ffn=48, **settings)
    for name, parameter in decoder.named_parameters():
        if "sampling_offsets.weight" in name or "attention_weights.weight" in name:
            nn.init.normal_(parameter, std=0.1)
    return decoder.eval()


def _features(batch: int = 2) -> dict[int, torch.Tensor]:
    torch.manual_seed(1)
    return {s: torch.randn(batch, c, FRAME[0] // s, FRAME[1] // s) for s, c in CHANNELS.items()}


# Golden G1.
def test_parameter_counts_of_the_published_sizes() -> None:
    with torch.device("meta"):
        decoder = PixelDecoder({4: 128, 8: 256, 16: 512, 32: 1024})
        layer = EncoderLayer(256, levels=4, heads=8, points=4, ffn=2048)
        attention = MultiScaleDeformableAttention(256)
    assert (_count(decoder), _count(layer), _count(attention)) == (11_204_608, 1_282_176, 230_272)


def test_names_of_parameters() -> None:
    names = {name.rsplit(".", 1)[0] for name, _ in _decoder().named_parameters()}
    inner = ["sampling_offsets", "attention_weights", "value_proj", "output_proj"]
    layer = [*(f"self_attn.{x}" for x in inner), "norm1", "linear1", "linear2", "norm2"]
    assert names == {
        "level_embed",
        "lateral",
        "lateral_norm",
        "output",
        "output_norm",
        "mask_features",
        *(f"input_proj.{i}.{j}" for i in range(4) for j in range(2)),
        *(f"encoder.{i}.{x}" for i in range(2) for x in layer),
    }


def test_shapes_and_host_sizes() -> None:
    pixel = _decoder()(_features(), valid_sizes=[(128, 128), (96, 128)], frame=FRAME)
    assert pixel.shapes == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert pixel.memory.shape == (2, 340, 32)
    assert pixel.mask_features.shape == (2, 16, 32, 32)
    assert pixel.padding.dtype == torch.bool and not pixel.padding[0].any() and pixel.padding[1].sum() == 80 + 4
    torch.testing.assert_close(pixel.valid_ratios, torch.tensor([[1, 1], [1, 0.75]]))


def _noisy_pair(decoder: PixelDecoder, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Memory of the valid tokens without and with noise on the projected tokens at padded positions."""
    features = _features(1)
    pixel = decoder(features, valid_sizes=[size], frame=FRAME)
    tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in decoder.project(features)], dim=1)
    real = _decoder()(features, valid_sizes=[size], frame=FRAME).padding
    noisy = torch.where(real[..., None], torch.randn_like(tokens) * 10, tokens)
    clean = decoder.encode(tokens, pixel.geometry, padding=pixel.padding)
    torch.testing.assert_close(clean, pixel.memory)
    return clean[~real], decoder.encode(noisy, pixel.geometry, padding=pixel.padding)[~real]


# Golden G11.
def test_padding_is_invisible() -> None:
    clean, noisy = _noisy_pair(_decoder(), (72, 128))
    torch.testing.assert_close(noisy, clean, rtol=1e-5, atol=1e-5)


# Golden G11.
def test_padding_as_content_is_visible() -> None:
    clean, noisy = _noisy_pair(_decoder(mask_padding=False), (72, 128))
    assert (noisy - clean).abs().max() > 1e-2
    pixel = _decoder(mask_padding=False)(_features(1), valid_sizes=[(72, 128)], frame=FRAME)
    assert not pixel.padding.any() and pixel.valid_ratios.tolist() == [[1, 1]]


def test_batch_equals_single() -> None:
    decoder, features = _decoder(), _features()
    both = decoder(features, valid_sizes=[(128, 128), (96, 72)], frame=FRAME)
    for row, size in enumerate([(128, 128), (96, 72)]):
        one = decoder({s: x[row : row + 1] for s, x in features.items()}, valid_sizes=[size], frame=FRAME)
        keep = ~one.padding[0]
        torch.testing.assert_close(one.memory[0, keep], both.memory[row, keep], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.padding[0], both.padding[row])


def test_select_repeats_images() -> None:
    pixel = _decoder()(_features(), valid_sizes=[(128, 128), (96, 128)], frame=FRAME)
    chosen = pixel.select([1, 1, 0])
    for row, source in enumerate([1, 1, 0]):
        assert torch.equal(chosen.memory[row], pixel.memory[source])
        assert torch.equal(chosen.mask_features[row], pixel.mask_features[source])
        assert torch.equal(chosen.padding[row], pixel.padding[source])
    assert chosen.geometry.valid_sizes == [(96, 128), (96, 128), (128, 128)]
    assert torch.equal(pixel.select(torch.tensor([1])).valid_ratios, pixel.valid_ratios[1:])
    assert pixel.select([0, 1]) is pixel


def test_memory_stays_float32_and_close_under_autocast() -> None:
    decoder, features = _decoder(), _features()
    plain = decoder(features, valid_sizes=[FRAME, FRAME], frame=FRAME)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = decoder(features, valid_sizes=[FRAME, FRAME], frame=FRAME)
    assert mixed.memory.dtype == torch.float32
    assert (mixed.memory - plain.memory).abs().mean() < 0.05
    mixed.memory.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in decoder.encoder.parameters())


def test_every_parameter_learns() -> None:
    decoder = _decoder()
    pixel = decoder(_features(), valid_sizes=[(128, 128), (96, 128)], frame=FRAME)
    (pixel.memory.square().mean() + pixel.mask_features.square().mean()).backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_missing_stride() -> None:
    with pytest.raises(ValueError, match=r"\[32\] missing"):
        PixelDecoder({4: 8, 8: 8, 16: 8})
    with pytest.raises(ValueError, match=r"\[4\] missing"):
        _decoder()({s: x for s, x in _features().items() if s != 4}, valid_sizes=[FRAME] * 2, frame=FRAME)


def test_without_sizes_nothing_is_padding() -> None:
    decoder, features = _decoder(), _features()
    plain = decoder(features)
    said = decoder(features, valid_sizes=[FRAME, FRAME], frame=FRAME)
    assert torch.equal(plain.memory, said.memory) and not bool(plain.padding.any())
    assert [tuple(level.shape) for level in plain.maps] == [(2, 32, 16 >> i, 16 >> i) for i in range(4)]
    assert torch.equal(plain.maps[1][1, :, 2, 3], plain.memory[1, 16 * 16 + 2 * 8 + 3])


def test_levels_may_be_given_by_their_strides():
    channels = {4: 8, 8: 8, 16: 12, 32: 16}
    decoder = PixelDecoder(
        channels, width=32, mask_width=16, layers=1, heads=4, points=2, ffn=32, levels=[16, 32, 64, 128]
    )
    maps = {stride: torch.randn(1, count, 256 // stride, 192 // stride) for stride, count in channels.items()}
    memory = decoder(maps, frame=(256, 192))
    assert memory.shapes == [(16, 12), (8, 6), (4, 3), (2, 2)] and memory.mask_features.shape == (1, 16, 64, 48)
    assert decoder(maps, frame=(256, 192), masks=False).mask_features is None
    with pytest.raises(ValueError, match=r"the finest level must have one of the strides \(4, 8, 16, 32\)"):
        PixelDecoder(channels, levels=[64, 128])
