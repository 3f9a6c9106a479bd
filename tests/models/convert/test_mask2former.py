"""Mask2Former's pixel decoder through the converters: the same function with three levels, a start with four."""

from functools import cache

import pytest
import torch
from oracles.conversion import close, fill, randomise, shapes
from oracles.swin_layouts import SIZES
from torch import Tensor, nn

from mvplm.models.convert import SOURCES, Converted, Options, convert, infer_settings
from mvplm.models.decoder import Decoder
from mvplm.models.heads import Heads
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.vision import STRIDES, SwinEncoder

WIDTH, HEADS, FFN, LAYERS = 32, 4, 48, 2
CHANNELS = {4: 8, 8: 16, 16: 32, 32: 64}
FRAME = (96, 160)


@cache
def reference() -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = {**SIZES, "depths": list(SIZES["depths"]), "num_heads": list(SIZES["num_heads"])}
    backbone = SwinConfig(**swin, image_size=64, out_features=[f"stage{i}" for i in range(1, 5)])
    config = Mask2FormerConfig(
        backbone_config=backbone,
        feature_size=WIDTH,
        mask_feature_size=WIDTH,
        hidden_dim=WIDTH,
        encoder_feedforward_dim=FFN,
        dim_feedforward=FFN,
        encoder_layers=LAYERS,
        decoder_layers=3,
        num_attention_heads=HEADS,
        num_queries=5,
    )
    torch.manual_seed(0)
    return randomise(Mask2FormerForUniversalSegmentation(config))


def parts(levels: int) -> nn.ModuleDict:
    sizes = {"heads": HEADS, "ffn": FFN, "levels": levels}
    return nn.ModuleDict(
        {
            "encoder": SwinEncoder(**SIZES),
            "pixel_decoder": PixelDecoder(CHANNELS, width=WIDTH, mask_width=WIDTH, layers=LAYERS, **sizes),
            "decoder": Decoder(WIDTH, layers=2, **sizes),
            "heads": Heads(WIDTH, mask_width=WIDTH, text_width=WIDTH),
        }
    )


def run(levels: int, tensors: dict[str, Tensor], source: str = "mask2former-hf") -> Converted:
    options = Options(heads=HEADS, levels=levels)
    return convert(tensors, SOURCES[source], expected=shapes(parts(levels)), options=options)


def as_detectron2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """detectron2's layout, without the backbone."""
    named = {}
    for name, tensor in tensors.items():
        for old, new in (
            ("model.pixel_level_module.decoder.encoder.", "sem_seg_head.pixel_decoder.transformer.encoder."),
            ("model.pixel_level_module.decoder.level_embed", "sem_seg_head.pixel_decoder.transformer.level_embed"),
            ("model.pixel_level_module.decoder.", "sem_seg_head.pixel_decoder."),
            (
                "model.transformer_module.decoder.mask_predictor.mask_embedder.",
                "sem_seg_head.predictor.mask_embed.layers.",
            ),
            ("model.transformer_module.decoder.layernorm", "sem_seg_head.predictor.decoder_norm"),
            ("model.transformer_module.queries_features", "sem_seg_head.predictor.query_feat"),
            ("input_projections", "input_proj"),
            ("mask_projection", "mask_features"),
            ("_1.0.", "_1."),
            ("_1.1.", "_1.norm."),
            ("self_attn_layer_norm", "norm1"),
            ("final_layer_norm", "norm2"),
            ("fc1", "linear1"),
            ("fc2", "linear2"),
        ):
            name = name.replace(old, new)
        if "mask_embed.layers" in name:
            name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        named[name] = tensor
    kept = ("sem_seg_head.pixel_decoder", "sem_seg_head.predictor", "criterion")
    return {name: tensor for name, tensor in named.items() if name.startswith(kept)}


def test_encoder_mask_features_and_all_levels_equal_those_of_transformers() -> None:
    network = parts(3).eval()
    done = run(3, reference().state_dict())
    for part in ("encoder", "pixel_decoder"):
        fill(network[part], done.tensors, part + ".")
    images = torch.randn(2, 3, *FRAME)
    with torch.no_grad():
        expected = reference().model.pixel_level_module(images, output_hidden_states=True)
        maps = network["encoder"](images)
        pixel = network["pixel_decoder"](maps, valid_sizes=[FRAME] * 2, frame=FRAME)
    for stride, feature in zip(STRIDES, expected.encoder_hidden_states, strict=True):
        assert close(maps[stride], feature)
    assert close(pixel.mask_features, expected.decoder_last_hidden_state)
    levels = pixel.memory.transpose(1, 2).split([h * w for h, w in pixel.shapes], dim=2)
    assert len(levels) == 3
    for level, shape, feature in zip(levels, pixel.shapes, expected.decoder_hidden_states[::-1], strict=True):
        assert close(level.unflatten(2, shape), feature)


def test_what_has_no_counterpart_is_listed_and_all_else_is_loaded() -> None:
    summary = run(3, reference().state_dict()).summary
    own = ("decoder.layers.0.cross_attn.", "decoder.layers.0.norm1.", "decoder.ref_point_head.", "heads.box.")
    assert all(any(name.startswith(prefix) for name in summary.missing) for prefix in own)
    assert not [name for name in summary.missing if name.startswith(("encoder.", "pixel_decoder."))]
    counts = {count.module: count for count in summary.modules()}
    assert counts["encoder"].missing == 0 and counts["heads"].loaded == 6
    assert counts["decoder"].loaded == 2 * 12 + 2
    assert all(
        "cross" in name
        or "queries" in name
        or "level_embed" in name
        or "layernorm" in name
        or "class" in name
        or "empty" in name
        for name in summary.unused
    )


def test_four_levels_keep_the_three_and_start_the_new_one_fresh() -> None:
    three, four = run(3, reference().state_dict()), run(4, reference().state_dict())
    fresh = parts(4)["pixel_decoder"].encoder[0].self_attn
    for layer in ("sampling_offsets", "attention_weights"):
        for kind in ("weight", "bias"):
            name = f"pixel_decoder.encoder.0.self_attn.{layer}.{kind}"
            old = three.tensors[name].unflatten(0, (HEADS, 3, -1))
            new = four.tensors[name].unflatten(0, (HEADS, 4, -1))
            start = getattr(getattr(fresh, layer), kind).unflatten(0, (HEADS, 4, -1))
            assert torch.equal(new[:, :3], old)
            assert torch.equal(new[:, 3], start[:, 3])
    assert torch.equal(four.tensors["pixel_decoder.level_embed"][:3], three.tensors["pixel_decoder.level_embed"])
    assert "pixel_decoder.input_proj.3.0.weight" in four.summary.missing
    with pytest.raises(ValueError, match="levels must be 3 or 4, got 5"):
        run(5, reference().state_dict())


@pytest.mark.parametrize("old_file", [False, True])
def test_detectron2_files_hold_the_same(old_file: bool) -> None:
    swin = {f"backbone.{name}": tensor for name, tensor in as_family(reference().state_dict()).items()}
    tensors = swin | as_detectron2(reference().state_dict())
    if old_file:
        tensors = {name.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): t for name, t in tensors.items()}
    expected = run(3, reference().state_dict()).tensors
    tensors |= predictor_of(expected)
    found = run(3, tensors, "mask2former-d2")
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.tensors.items())
    with pytest.raises(ValueError, match="1 unexpected: sem_seg_head.predictor.gate"):
        run(3, {**tensors, "sem_seg_head.predictor.gate": torch.ones(1)}, "mask2former-d2")


def as_family(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The backbone in the family's layout."""
    prefix = "model.pixel_level_module.encoder."
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    named = {}
    for name, tensor in own.items():
        if name.startswith("swin.layernorm") or ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            tensor = torch.cat([own[name.replace("q_proj", f"{part}_proj")] for part in "qkv"])
        for old, new in (
            ("swin.encoder.", ""),
            ("swin.embeddings.patch_embeddings.projection", "patch_embed.proj"),
            ("swin.embeddings.norm", "patch_embed.norm"),
            ("layernorm_before", "norm1"),
            ("layernorm_after", "norm2"),
            ("attention.q_proj", "attn.qkv"),
            ("attention.o_proj", "attn.proj"),
            ("attention.relative_position_bias.", "attn."),
            *((f"hidden_states_norms.stage{i + 1}", f"norm{i}") for i in range(4)),
        ):
            name = name.replace(old, new)
        named[name] = tensor
    return named


def predictor_of(library: dict[str, Tensor]) -> dict[str, Tensor]:
    """The query decoder's tensors in detectron2's names, from those of the library."""
    named = {}
    head = "sem_seg_head.predictor."
    for i in range(2):
        attention, feed = f"{head}transformer_self_attention_layers.{i}.", f"{head}transformer_ffn_layers.{i}."
        for name, tensor in library.items():
            inner = name.removeprefix(f"decoder.layers.{i}.")
            if inner == name:
                continue
            kind = inner.rsplit(".", 1)[-1]
            if inner.startswith("self_attn"):
                named[attention + inner] = tensor
            elif inner.startswith("norm"):
                named[(attention if inner.startswith("norm2") else feed) + f"norm.{kind}"] = tensor
            else:
                named[feed + inner] = tensor
    named[f"{head}transformer_cross_attention_layers.0.norm.weight"] = torch.ones(WIDTH)
    named[f"{head}query_embed.weight"] = torch.ones(5, WIDTH)
    return named


def test_sizes_are_read_off_the_tensors() -> None:
    options = Options(heads=HEADS, levels=3)
    mapped = SOURCES["mask2former-hf"].map(reference().state_dict(), options)
    model = infer_settings(mapped.tensors, options)["model"]
    assert model["pixel_decoder"] == {
        "width": WIDTH,
        "mask_width": WIDTH,
        "layers": LAYERS,
        "heads": HEADS,
        "points": 4,
        "ffn": FFN,
        "levels": 3,
    }
    assert model["decoder"] == {"layers": 2, "heads": HEADS, "ffn": FFN}
    assert model["encoder"]["kwargs"]["window_size"] == SIZES["window_size"]


def test_parts_of_a_joined_tensor_must_all_be_there() -> None:
    tensors = dict(reference().state_dict())
    del tensors["model.transformer_module.decoder.layers.1.self_attn.k_proj.weight"]
    with pytest.raises(ValueError, match=r"decoder\.layers\.1\.self_attn\.in_proj_weight is made of 3 tensors, .* 2"):
        run(3, tensors)
