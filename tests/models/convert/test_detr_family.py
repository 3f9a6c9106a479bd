"""Files of Mask DINO and OpenSeeD, made up in their documented layout: every tensor finds its place."""

import pytest
import torch
from oracles.conversion import close, fill, randomise, shapes
from oracles.swin_layouts import SIZES, family_swin, linear, norm
from torch import Tensor, nn

from mvplm.models.convert import SOURCES, Options, convert
from mvplm.models.convert.levels import reverse_levels
from mvplm.models.decoder import Decoder
from mvplm.models.heads import Heads
from mvplm.models.pixel_decoder import LEVEL_STRIDES, PixelDecoder
from mvplm.models.queries import StuffQueries
from mvplm.models.selection import Selector
from mvplm.models.vision import SwinEncoder

WIDTH, HEADS, FFN, LAYERS, STUFF = 32, 4, 40, 2, 6
CHANNELS = {4: 8, 8: 16, 16: 32, 32: 64}
FRAME = (64, 128)


def parts(levels: int = 4, level_order: str = "fine_to_coarse") -> nn.ModuleDict:
    sizes = {"heads": HEADS, "ffn": FFN, "levels": levels}
    return nn.ModuleDict(
        {
            "encoder": SwinEncoder(**SIZES),
            "pixel_decoder": PixelDecoder(CHANNELS, width=WIDTH, mask_width=WIDTH, layers=LAYERS, **sizes),
            "selector": Selector(WIDTH, num=5),
            "stuff": StuffQueries(WIDTH, num=STUFF),
            "decoder": Decoder(WIDTH, layers=LAYERS, level_order=level_order, **sizes),
            "heads": Heads(WIDTH, mask_width=WIDTH, text_width=WIDTH),
        }
    )


def deformable(name: str, levels: int) -> dict[str, tuple[int, ...]]:
    rows = HEADS * levels * 4
    return {
        **linear(f"{name}.sampling_offsets", rows * 2, WIDTH),
        **linear(f"{name}.attention_weights", rows, WIDTH),
        **linear(f"{name}.value_proj", WIDTH, WIDTH),
        **linear(f"{name}.output_proj", WIDTH, WIDTH),
    }


def layout(levels: int, order: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the segmentation head."""
    pixel, predictor = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    inputs = [CHANNELS[stride] for stride in LEVEL_STRIDES[levels] if stride in CHANNELS]
    inputs = inputs if order == "low2high" else inputs[::-1]
    named: dict[str, tuple[int, ...]] = {f"{pixel}transformer.level_embed": (levels, WIDTH)}
    for i in range(levels):
        kernel = (inputs[i], 1, 1) if i < len(inputs) else (CHANNELS[32], 3, 3)
        named |= {f"{pixel}input_proj.{i}.0.weight": (WIDTH, *kernel), f"{pixel}input_proj.{i}.0.bias": (WIDTH,)}
        named |= norm(f"{pixel}input_proj.{i}.1", WIDTH)
    for i in range(LAYERS):
        layer = f"{pixel}transformer.encoder.layers.{i}."
        named |= deformable(layer + "self_attn", levels) | norm(layer + "norm1", WIDTH) | norm(layer + "norm2", WIDTH)
        named |= linear(layer + "linear1", FFN, WIDTH) | linear(layer + "linear2", WIDTH, FFN)
        layer = f"{predictor}decoder.layers.{i}."
        named |= deformable(layer + "cross_attn", levels)
        named |= {
            layer + "self_attn.in_proj_weight": (3 * WIDTH, WIDTH),
            layer + "self_attn.in_proj_bias": (3 * WIDTH,),
        }
        named |= linear(layer + "self_attn.out_proj", WIDTH, WIDTH)
        named |= norm(layer + "norm1", WIDTH) | norm(layer + "norm2", WIDTH) | norm(layer + "norm3", WIDTH)
        named |= linear(layer + "linear1", FFN, WIDTH) | linear(layer + "linear2", WIDTH, FFN)
    named |= {f"{pixel}adapter_1.weight": (WIDTH, CHANNELS[4], 1, 1), f"{pixel}layer_1.weight": (WIDTH, WIDTH, 3, 3)}
    named |= norm(f"{pixel}adapter_1.norm", WIDTH) | norm(f"{pixel}layer_1.norm", WIDTH)
    named |= {f"{pixel}mask_features.weight": (WIDTH, WIDTH, 1, 1), f"{pixel}mask_features.bias": (WIDTH,)}
    named |= linear(f"{predictor}enc_output", WIDTH, WIDTH) | norm(f"{predictor}enc_output_norm", WIDTH)
    named |= norm(f"{predictor}decoder_norm", WIDTH)
    for i in range(3):
        named |= linear(f"{predictor}mask_embed.layers.{i}", WIDTH, WIDTH)
        named |= linear(f"{predictor}_bbox_embed.layers.{i}", WIDTH if i < 2 else 4, WIDTH)
    for i in range(2):
        named |= linear(f"{predictor}decoder.ref_point_head.layers.{i}", WIDTH, WIDTH if i else 2 * WIDTH)
    return named | {"criterion.empty_weight": (3,)}


def made_up(levels: int = 4, order: str = "low2high") -> dict[str, Tensor]:
    """A file: random values, and the box head and decoder norm under their other names as well."""
    torch.manual_seed(3)
    tensors = {f"backbone.{name}": tensor for name, tensor in family_swin().items()}
    tensors |= {name: torch.randn(shape) * 0.3 for name, shape in layout(levels, order).items()}
    head = "sem_seg_head.predictor."
    for name in [name for name in tensors if "_bbox_embed" in name]:
        for i in range(LAYERS):
            tensors[name.replace("_bbox_embed", f"bbox_embed.{i}")] = tensors[name].clone()
            tensors[name.replace("_bbox_embed", f"decoder.bbox_embed.{i}")] = tensors[name].clone()
    for end in ("weight", "bias"):
        tensors[f"{head}decoder.norm.{end}"] = tensors[f"{head}decoder_norm.{end}"].clone()
    return tensors


def openseed(levels: int = 4, order: str = "low2high") -> dict[str, Tensor]:
    head = "sem_seg_head.predictor."
    return {
        **{f"model.{name}": tensor for name, tensor in made_up(levels, order).items()},
        f"model.{head}class_embed": torch.ones(WIDTH, 8),
        f"model.{head}lang_encoder.lang_encoder.resblocks.0.ln_1.weight": torch.ones(8),
        f"model.{head}lang_encoder.logit_scale": torch.ones(()),
        f"model.{head}query_feat.weight": torch.randn(STUFF, WIDTH),
        f"model.{head}query_embed.weight": torch.randn(STUFF, 4),
    }


def maskdino(levels: int = 4, order: str = "low2high") -> dict[str, Tensor]:
    head = "sem_seg_head.predictor."
    return {
        **made_up(levels, order),
        f"{head}class_embed.weight": torch.ones(3, WIDTH),
        f"{head}class_embed.bias": torch.ones(3),
        f"{head}label_enc.weight": torch.ones(3, WIDTH),
    }


FILES = {"openseed": openseed, "maskdino": maskdino}


def options(order: str = "low2high") -> Options:
    return Options(heads=HEADS, feature_order=order)


@pytest.mark.parametrize("order", ["low2high", "high2low"])
@pytest.mark.parametrize("levels", [4, 5])
@pytest.mark.parametrize("kind", FILES)
def test_every_tensor_finds_its_place(kind: str, levels: int, order: str) -> None:
    network, tensors = parts(levels), FILES[kind](levels, order)
    done = convert(tensors, SOURCES[kind], expected=shapes(network), options=options(order))
    missing = {name.rsplit(".layers", 1)[0] for name in done.summary.missing}
    assert missing == {"heads.word", "heads.sentence"}
    for part in ("encoder", "pixel_decoder", "selector", "decoder"):
        fill(network[part], done.tensors, part + ".")
    assert ("stuff.content" in done.tensors) == (kind == "openseed")
    assert len(done.summary.loaded) + len(done.summary.unused) >= len(tensors)


@pytest.mark.parametrize("kind", FILES)
def test_both_orders_of_levels_make_one_function(kind: str) -> None:
    low = {name: tensor for name, tensor in FILES[kind]().items() if "backbone" not in name}
    low |= {name: tensor for name, tensor in FILES[kind]().items() if "backbone" in name}
    high = {}
    for name, tensor in low.items():
        if name.endswith("level_embed"):
            tensor = tensor.flip(0)
        elif "sampling_offsets" in name or "attention_weights" in name:
            tensor = reverse_levels(tensor, 4, heads=HEADS)
        for i in range(3):
            if f"input_proj.{i}." in name:
                name = name.replace(f"input_proj.{i}.", f"input_proj.{2 - i}.")
                break
        high[name] = tensor
    expected = shapes(parts())
    first = convert(low, SOURCES[kind], expected=expected, options=options("low2high"))
    second = convert(high, SOURCES[kind], expected=expected, options=options("high2low"))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


def test_the_order_is_asked_for_and_decides_the_anchors() -> None:
    expected = shapes(parts())
    with pytest.raises(ValueError, match="feature_order is needed"):
        convert(maskdino(), SOURCES["maskdino"], expected=expected, options=Options(heads=HEADS))
    with pytest.raises(ValueError, match="did you mean 'low2high'"):
        convert(maskdino(), SOURCES["maskdino"], expected=expected, options=options("lowtohigh"))
    scales = {order: SOURCES["openseed"].settings(options(order)) for order in ("low2high", "high2low")}
    assert scales["low2high"]["model"]["decoder"]["anchor_scale"] == "coarse_small"
    assert scales["high2low"]["model"]["decoder"]["anchor_scale"] == "fine_small"


@pytest.mark.parametrize("kind", FILES)
def test_unknown_and_missing_tensors_are_errors(kind: str) -> None:
    tensors, expected = FILES[kind](), shapes(parts())
    with pytest.raises(ValueError, match="1 unexpected: sem_seg_head.gate"):
        convert({**tensors, "sem_seg_head.gate": torch.ones(1)}, SOURCES[kind], expected=expected, options=options())
    less = {name: t for name, t in tensors.items() if not name.endswith("enc_output.weight")}
    with pytest.raises(ValueError, match=r"1 missing: selector\.proj\.weight"):
        convert(less, SOURCES[kind], expected=expected, options=options())


def test_names_of_one_tensor_must_agree() -> None:
    tensors = maskdino()
    tensors["sem_seg_head.predictor.bbox_embed.1.layers.0.bias"] += 1
    with pytest.raises(ValueError, match=r"both are heads\.box\.layers\.0\.bias, but their values differ"):
        convert(tensors, SOURCES["maskdino"], expected=shapes(parts()), options=options())


@pytest.mark.parametrize("valid", [FRAME, (40, 90)])
def test_reversing_the_levels_changes_the_order_and_nothing_else(valid: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = randomise(parts())
    turned = Decoder(WIDTH, layers=LAYERS, heads=HEADS, ffn=FFN, levels=4, level_order="coarse_to_fine").eval()
    state = network["decoder"].state_dict()
    for name, tensor in state.items():
        if "sampling_offsets" in name or "attention_weights" in name:
            state[name] = reverse_levels(tensor, 4, heads=HEADS)
    turned.load_state_dict(state)
    maps = {s: torch.randn(2, c, FRAME[0] // s, FRAME[1] // s) for s, c in CHANNELS.items()}
    with torch.no_grad():
        pixel = network["pixel_decoder"](maps, valid_sizes=[FRAME, valid], frame=FRAME)
        queries = torch.randn(2, 7, WIDTH), torch.randn(2, 7, 4)
        box = network["heads"].box
        first, second = (decoder(*queries, pixel=pixel, box_head=box) for decoder in (network["decoder"], turned))
    assert close(second.hidden, first.hidden, 1e-5) and close(second.boxes, first.boxes, 1e-5)
