"""Encoders: four strides, declared channels, frozen means frozen."""

import pytest
import torch
from torch import nn

from mvplm.models.vision import STRIDES, SwinEncoder, TimmEncoder

NAMES = {
    "resnet18": {"channels": (8, 8, 16, 16), "layers": (1, 1, 1, 1)},
    "convnext_atto": {"dims": (8, 16, 24, 32), "depths": (1, 1, 1, 1)},
    "mobilenetv3_small_050": {},
    "swin_tiny_patch4_window7_224": {
        "img_size": 64,
        "embed_dim": 12,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 1, 1, 1),
    },
}


def small_swin(**options: object) -> SwinEncoder:
    sizes = {"embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2), "window_size": 4}
    return SwinEncoder(**{**sizes, **options})


def check_maps(encoder: nn.Module, height: int, width: int) -> None:
    maps = encoder(torch.randn(2, 3, height, width))
    for stride in STRIDES:
        assert maps[stride].shape == (2, encoder.channels[stride], height // stride, width // stride)
    assert list(maps) == list(STRIDES)


@pytest.mark.parametrize("name", NAMES)
def test_timm_encoders_keep_the_contract(name: str) -> None:
    check_maps(TimmEncoder(name, **NAMES[name]).eval(), 64, 64)


def test_swin_takes_any_size_and_its_stages_double_in_width() -> None:
    encoder = small_swin()
    check_maps(encoder, 96, 64)
    assert list(encoder.channels.values()) == [8, 16, 32, 64]


def test_swin_maps_are_normalised_by_their_own_norms() -> None:
    maps = small_swin()(torch.randn(1, 3, 64, 64))
    for feature in maps.values():
        assert feature.mean(1).abs().max() < 1e-5
        assert (feature.var(1, unbiased=False) - 1).abs().max() < 0.05


# Golden G58.
def test_a_frozen_encoder_stays_in_eval_mode_and_changes_nothing() -> None:
    for encoder in (small_swin(drop_path=0.5), TimmEncoder("resnet18", frozen=True, **NAMES["resnet18"])):
        holder = nn.Sequential(encoder).train()
        before = {name: value.clone() for name, value in encoder.state_dict().items()}
        images = torch.randn(2, 3, 64, 64)
        first, second = holder(images), holder(images)
        assert all(torch.equal(first[stride], second[stride]) for stride in STRIDES)
        assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
        assert not first[4].requires_grad
        assert not any(module.training for module in encoder.modules())


def test_a_trained_encoder_gets_gradients_and_stochastic_depth() -> None:
    torch.manual_seed(0)
    encoder = small_swin(drop_path=0.9, frozen=False).train()
    images = torch.randn(2, 3, 64, 64)
    first, second = encoder(images), encoder(images)
    assert not torch.equal(first[32], second[32])
    assert first[32].requires_grad


def test_unknown_and_unfit_names_are_explained() -> None:
    with pytest.raises(ValueError, match="did you mean 'resnet18'"):
        TimmEncoder("resnet19")
    with pytest.raises(ValueError, match=r"strides \[4, 8, 32\] are missing"):
        TimmEncoder("vit_tiny_patch16_224", depth=3, embed_dim=12, num_heads=1)


def test_sides_must_fit_the_coarsest_stride() -> None:
    with pytest.raises(ValueError, match="multiples of 32, got 64x65"):
        small_swin()(torch.randn(1, 3, 64, 65))


def test_window_padding_of_the_published_input() -> None:
    with torch.device("meta"):
        encoder = SwinEncoder(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1))
        windows: list[int] = []
        for layer in encoder.backbone.swin.encoder.layers:
            layer.blocks[0].attention.register_forward_pre_hook(
                lambda module, given: windows.append(given[0].shape[0] * given[0].shape[1])
            )
        encoder(torch.empty(1, 3, 1024, 1024))
    assert windows == [side * side for side in (264, 132, 72, 36)]
