"""Swin weights from every origin, and the function they make: that of transformers and of timm."""

import pytest
import torch
from oracles.conversion import close, fill, randomise, shapes
from oracles.swin_layouts import SIZES, as_mm, as_timm, as_transformers, family_swin
from torch.nn import functional as F

from mvplm.models.convert import SOURCES, Options, Strictness, convert, infer_settings
from mvplm.models.vision import STRIDES, SwinEncoder

LAYOUTS = {
    "original": ("swin-timm", lambda family: family),
    "detectron2": ("swin-timm", lambda family: {f"backbone.{name}": tensor for name, tensor in family.items()}),
    "mm": ("swin-timm", as_mm),
    "transformers": ("swin-hf", as_transformers),
}


def encoder() -> SwinEncoder:
    return SwinEncoder(**SIZES)


def converted(tensors: dict[str, torch.Tensor], source: str, **options: object) -> SwinEncoder:
    network = encoder()
    done = convert(tensors, SOURCES[source], expected=shapes(network, "encoder."), **options)
    fill(network, done.tensors, "encoder.")
    return network


def hf_config() -> object:
    from transformers import SwinConfig

    sizes = {**SIZES, "depths": list(SIZES["depths"]), "num_heads": list(SIZES["num_heads"])}
    return SwinConfig(**sizes, image_size=64, out_features=[f"stage{i}" for i in range(1, 5)])


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_features_equal_those_of_transformers_at_any_size(size: tuple[int, int]) -> None:
    from transformers import SwinBackbone

    reference = randomise(SwinBackbone(hf_config()))
    network = converted(reference.state_dict(), "swin-hf")
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected, found = reference(images).feature_maps, network(images)
    for stride, feature in zip(STRIDES, expected, strict=True):
        assert close(found[stride], feature)


def test_a_model_without_output_norms_gets_norms_that_scale_by_one() -> None:
    from transformers import SwinModel

    reference = randomise(SwinModel(hf_config()))
    network = converted(reference.state_dict(), "swin-hf")
    reference.layernorm = torch.nn.Identity()
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        last = reference(images, always_partition=True).last_hidden_state
        found = network(images)[32].flatten(2).transpose(1, 2)
    assert close(found, F.layer_norm(last, last.shape[-1:]))


def test_features_equal_those_of_timm_where_windows_fit() -> None:
    import timm

    reference = timm.create_model(
        "swin_tiny_patch4_window7_224",
        img_size=256,
        embed_dim=SIZES["embed_dim"],
        depths=SIZES["depths"],
        num_heads=SIZES["num_heads"],
        window_size=SIZES["window_size"],
        features_only=True,
    )
    randomise(reference)
    network = converted(dict(reference.state_dict()), "swin-timm")
    images = torch.randn(1, 3, 256, 256)
    with torch.no_grad():
        expected, found = reference(images), network(images)
    for stride, feature in zip(STRIDES, expected, strict=True):
        assert close(found[stride], F.layer_norm(feature, feature.shape[-1:]).permute(0, 3, 1, 2))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_set_of_weights_gives_the_same_tensors_from_every_layout(layout: str) -> None:
    source, relayout = LAYOUTS[layout]
    base = convert(family_swin(), SOURCES["swin-timm"], expected=shapes(encoder(), "encoder."))
    other = convert(relayout(family_swin()), SOURCES[source], expected=shapes(encoder(), "encoder."))
    assert base.tensors.keys() == other.tensors.keys() == shapes(encoder(), "encoder.").keys()
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in base.tensors.items())


def test_timm_files_number_their_mergings_one_stage_later() -> None:
    base = convert(family_swin(), SOURCES["swin-timm"], expected=shapes(encoder(), "encoder."))
    other = convert(as_timm(family_swin()), SOURCES["swin-timm"], expected=shapes(encoder(), "encoder."))
    norms = [name for name in base.tensors if "hidden_states_norms" in name]
    assert len(norms) == len(other.summary.filled) == 8
    assert all(torch.equal(t, other.tensors[n]) for n, t in base.tensors.items() if n not in norms)
    assert set(other.summary.unused) == {"norm.weight", "norm.bias", "head.fc.weight"}


def test_sizes_are_read_off_the_tensors() -> None:
    source = SOURCES["swin-timm"]
    sizes = infer_settings(source.map(family_swin(), Options()).tensors, Options())["model"]["encoder"]
    assert sizes == {
        "kind": "swin",
        "kwargs": {key: list(v) if isinstance(v, tuple) else v for key, v in SIZES.items()},
    }


def test_unknown_missing_and_misshapen_tensors_are_refused() -> None:
    whole = family_swin()
    with pytest.raises(ValueError, match=r"1 unexpected: layers.9.gate"):
        converted({**whole, "layers.9.gate": torch.ones(1)}, "swin-timm")
    less = {name: tensor for name, tensor in whole.items() if not name.startswith("layers.1.blocks.0.mlp.fc1")}
    with pytest.raises(ValueError, match=r"2 missing: .*layers\.1\.blocks\.0\.mlp\.fc1"):
        converted(less, "swin-timm")
    with pytest.raises(ValueError, match=r"1 of another shape: .*norm\.weight \(file \(9,\), network \(8,\)\)"):
        converted({**whole, "patch_embed.norm.weight": torch.ones(9)}, "swin-timm")
    with pytest.raises(ValueError, match=r"stages\.0\.downsample"):
        converted({"conv.weight": torch.ones(1)}, "swin-timm")


def test_what_may_be_missing_is_said_or_bounded() -> None:
    name = "layers.1.blocks.0.mlp.fc1.bias"
    less = {key: tensor for key, tensor in family_swin().items() if key != name}
    expected = shapes(encoder(), "encoder.")
    missing = ("encoder.backbone.swin.encoder.layers.1.blocks.0.mlp.fc1.bias",)
    source = SOURCES["swin-timm"]
    for strictness in (Strictness(allow_missing=missing), Strictness(tolerance=0.05)):
        done = convert(less, source, expected=expected, strictness=strictness)
        assert done.summary.missing == missing and missing[0] not in done.tensors
    with pytest.raises(ValueError, match="1 missing"):
        convert(less, source, expected=expected, strictness=Strictness(tolerance=0.001))


def test_tables_of_another_window_are_resized_on_request_only() -> None:
    network = SwinEncoder(**{**SIZES, "window_size": 5})
    expected, source = shapes(network, "encoder."), SOURCES["swin-timm"]
    with pytest.raises(ValueError, match=r"6 of another shape: .*allow_bias_resize"):
        convert(family_swin(), source, expected=expected)
    done = convert(family_swin(), source, expected=expected, options=Options(allow_bias_resize=True))
    assert len(done.summary.reshaped) == 6
    fill(network, done.tensors, "encoder.")


def test_nothing_of_the_given_tensors_is_changed() -> None:
    given = family_swin()
    before = {name: tensor.clone() for name, tensor in given.items()}
    convert(given, SOURCES["swin-timm"], expected=shapes(encoder(), "encoder."))
    assert given.keys() == before.keys()
    assert all(torch.equal(given[name], tensor) for name, tensor in before.items())
