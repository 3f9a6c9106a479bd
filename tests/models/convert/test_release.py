"""The public release's layout: every published name, exactly, and what cannot be right is refused."""

import math
from functools import cache

import pytest
import torch
from oracles.conversion import close, fill, shapes
from oracles.release_layout import ReleaseSizes, made_up_release, release_shapes
from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.models.connector import Connector
from mvplm.models.convert import SOURCES, Options, Strictness, convert, infer_settings
from mvplm.models.decoder import Decoder
from mvplm.models.heads import Heads
from mvplm.models.language import LanguageModel
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.queries import StuffQueries
from mvplm.models.selection import Selector
from mvplm.models.text import TextEmbedder
from mvplm.models.vision import SwinEncoder

RELEASE = SOURCES["mvplm-release"]
SMALL = ReleaseSizes(
    embed_dim=8,
    depths=(1, 1, 2, 1),
    heads=(1, 2, 2, 4),
    window=4,
    rows=60,
    text=32,
    text_layers=2,
    text_ffn=48,
    connector=32,
    width=64,
    encoder_layers=1,
    layers=2,
    ffn=48,
    stuff=5,
    queries=7,
)
OPTIONS = Options(heads=8, text_heads=4)


def network(sizes: ReleaseSizes, text_heads: int) -> nn.ModuleDict:
    """The parts of the released network, no lm_head bias, linear text projections, no queries of their own."""
    channels = {4 * 2**i: sizes.embed_dim * 2**i for i in range(4)}
    language = LanguageModel.from_phi(
        vocab_size=sizes.rows,
        hidden_size=sizes.text,
        num_hidden_layers=sizes.text_layers,
        num_attention_heads=text_heads,
        intermediate_size=sizes.text_ffn,
    )
    language.lm_head.bias = None
    return nn.ModuleDict(
        {
            "encoder": SwinEncoder(
                embed_dim=sizes.embed_dim, depths=sizes.depths, num_heads=sizes.heads, window_size=sizes.window
            ),
            "connector": Connector(channels[32], sizes.text, width=sizes.connector, conv2_repeats=2),
            "llm": language,
            "text": TextEmbedder(sizes.text, sizes.width, projection="linear", no_object=False),
            "pixel_decoder": PixelDecoder(
                channels, width=sizes.width, mask_width=sizes.width, layers=sizes.encoder_layers, ffn=sizes.ffn
            ),
            "selector": Selector(sizes.width, num=sizes.queries),
            "stuff": StuffQueries(sizes.width, num=sizes.stuff),
            "decoder": Decoder(sizes.width, layers=sizes.layers, ffn=sizes.ffn),
            "heads": Heads(sizes.width, mask_width=sizes.width, text_width=sizes.width),
        }
    )


@cache
def small_release() -> dict[str, Tensor]:
    return made_up_release(SMALL)


@cache
def small_shapes() -> dict[str, torch.Size]:
    return shapes(network(SMALL, text_heads=4))


def test_the_published_names_fill_the_published_network_exactly() -> None:
    listed = release_shapes(ReleaseSizes())
    computed = ("relative_position_index", "running_mean", "running_var", "num_batches_tracked")
    parameters = [name for name in listed if not name.endswith(computed)]
    assert (len(listed), len(parameters)) == (990, 957)
    assert sum(math.prod(listed[name]) for name in parameters) == 1_593_317_804
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in listed.items()}
        expected = shapes(network(ReleaseSizes(), text_heads=32))
    summary = convert(tensors, RELEASE, expected=expected).summary
    assert set(summary.loaded) == set(expected) and not summary.missing and not summary.unexpected
    assert sum(why == "computed from the sizes" for why in summary.unused.values()) == 24
    left_over = {name for name, why in summary.unused.items() if "left over" in why}
    assert "thing_query.weight" in left_over and "expanded_seg_query_project.weight" in left_over


def test_converted_tensors_load_strictly_and_aliases_are_verified() -> None:
    done = convert(small_release(), RELEASE, expected=small_shapes(), options=OPTIONS)
    parts = network(SMALL, text_heads=4)
    for part in parts:
        fill(parts[part], done.tensors, part + ".")
    aliases = [name for name, why in done.summary.unused.items() if why.startswith("another name")]
    assert len(aliases) == 2 * SMALL.layers * 6 + 2
    for name in ("predictor.bbox_embed.1.layers.2.weight", "predictor.decoder.norm.bias"):
        broken = {**small_release(), name: small_release()[name] + 1}
        with pytest.raises(ValueError, match="but their values differ"):
            convert(broken, RELEASE, expected=small_shapes(), options=OPTIONS)


def test_unknown_and_missing_names_are_errors() -> None:
    with pytest.raises(ValueError, match=r"1 unexpected: predictor\.gate"):
        convert({**small_release(), "predictor.gate": torch.ones(1)}, RELEASE, expected=small_shapes(), options=OPTIONS)
    name = "model.layers.1.self_attn.query_key_value.weight"
    less = {key: tensor for key, tensor in small_release().items() if key != name}
    with pytest.raises(ValueError, match=r"3 missing: llm\.model\.layers\.1\.self_attn\.q_proj\.weight"):
        convert(less, RELEASE, expected=small_shapes(), options=OPTIONS)


def test_sizes_are_read_off_the_tensors() -> None:
    model = infer_settings(RELEASE.map(small_release(), OPTIONS).tensors, OPTIONS)["model"]
    assert model["llm"] == {"embedding_rows": 60, "hidden_size": 32, "layers": 2, "heads": 4, "ffn": 48}
    assert (model["stuff"], model["connector"]) == ({"num": 5}, {"width": 32})
    assert (model["decoder"]["layers"], model["pixel_decoder"]["points"]) == (2, 4)
    assert RELEASE.settings(OPTIONS) == {"behaviour": "released"}


def test_a_connector_alone_is_read_on_request() -> None:
    own = {name: tensor for name, tensor in small_release().items() if "mm_projector" in name}
    expected = {name: shape for name, shape in small_shapes().items() if name.startswith("connector.")}
    done = convert(own, RELEASE, expected=expected, options=OPTIONS)
    assert set(done.tensors) == set(expected)
    with pytest.raises(ValueError, match="missing"):
        convert(own, RELEASE, expected=small_shapes(), options=OPTIONS)
    allowed = Strictness(allow_missing=tuple(part + "." for part in RELEASE.covers if part != "connector"))
    assert set(convert(own, RELEASE, expected=small_shapes(), options=OPTIONS, strictness=allowed).tensors) == set(
        expected
    )


def test_the_connector_applies_its_second_convolution_as_often_as_it_is_told() -> None:
    done = convert(small_release(), RELEASE, expected=small_shapes(), options=OPTIONS)
    feature = torch.randn(1, 64, 4, 4)
    results = []
    for repeats in (1, 2):
        connector = Connector(64, SMALL.text, width=SMALL.connector, conv2_repeats=repeats).eval()
        fill(connector, done.tensors, "connector.")
        results.append(connector(feature))
    tensors = small_release()

    def batch_norm(x: Tensor, name: str) -> Tensor:
        values = [tensors[f"model.mm_projector.layer1.0.{name}.{k}"] for k in ("running_mean", "running_var")]
        weight, bias = (tensors[f"model.mm_projector.layer1.0.{name}.{k}"] for k in ("weight", "bias"))
        return F.batch_norm(x, *values, weight, bias)

    kernels = {k: tensors[f"model.mm_projector.layer1.0.{k}.weight"] for k in ("conv1", "conv2", "downsample.0")}
    x = F.relu(batch_norm(F.conv2d(feature, kernels["conv1"], stride=2, padding=1), "bn1"))
    for _ in range(2):
        x = F.conv2d(x, kernels["conv2"], padding=1)
    x = batch_norm(x, "bn2") + batch_norm(F.conv2d(feature, kernels["downsample.0"], stride=2), "downsample.1")
    fc = [tensors[f"model.mm_projector.fc.{k}"] for k in ("weight", "bias")]
    expected = F.linear(F.relu(x).flatten(2).transpose(1, 2), *fc)
    assert close(results[1], expected)
    assert not close(results[0], expected, 0.01)


def test_as_a_start_the_new_parts_are_silent_and_the_levels_are_turned() -> None:
    plain = convert(small_release(), RELEASE, expected=small_shapes(), options=OPTIONS)
    new = {
        "llm.lm_head.bias": torch.Size((60,)),
        "query.base.layers.0.weight": torch.Size((64, 32)),
        "query.base.layers.0.bias": torch.Size((64,)),
        "query.base.layers.1.weight": torch.Size((64, 64)),
        "query.base.layers.1.bias": torch.Size((64,)),
        "query.slots": torch.Size((7, 64)),
        "text.no_object": torch.Size((64,)),
        "text.no_object_bias": torch.Size((1,)),
    }
    options = Options(heads=8, text_heads=4, as_init=True)
    with pytest.raises(ValueError, match="8 missing"):
        convert(small_release(), RELEASE, expected={**small_shapes(), **new}, options=OPTIONS)
    start = convert(small_release(), RELEASE, expected={**small_shapes(), **new}, options=options)
    assert set(start.summary.filled) == set(new)
    assert all(
        not tensor.any() for name, tensor in start.tensors.items() if name in new and "layers.0.weight" not in name
    )
    for name, tensor in plain.tensors.items():
        turned = "cross_attn.sampling_offsets" in name or "cross_attn.attention_weights" in name
        if turned:
            tensor = tensor.unflatten(0, (8, 4, -1)).flip(1).flatten(0, 2)
        assert torch.equal(start.tensors[name], tensor)
    assert RELEASE.settings(options)["model"]["decoder"]["anchor_scale"] == "coarse_small"
