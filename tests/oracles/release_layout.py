"""The public release's tensors, names and shapes written out from their documented layout."""

from dataclasses import dataclass

import torch
from oracles.swin_layouts import linear, norm
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ReleaseSizes:
    """Sizes of a model; the defaults are those of the published one."""

    embed_dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    window: int = 12
    rows: int = 50297
    text: int = 2048
    text_layers: int = 24
    text_ffn: int = 8192
    connector: int = 2048
    width: int = 256
    encoder_layers: int = 6
    layers: int = 9
    ffn: int = 2048
    stuff: int = 100
    queries: int = 100


def release_shapes(sizes: ReleaseSizes) -> dict[str, Shape]:
    """Every unique name of a checkpoint with its shape."""
    return {
        **_language(sizes),
        **_swin(sizes),
        **_connector(sizes),
        **_pixel_decoder(sizes),
        **_predictor(sizes),
        **_rest(sizes),
    }


def made_up_release(sizes: ReleaseSizes, seed: int = 0) -> dict[str, Tensor]:
    """Random tensors in that layout, with the other names of the box head and the decoder norm."""
    torch.manual_seed(seed)
    tensors = {name: torch.randn(shape) * 0.2 for name, shape in release_shapes(sizes).items()}
    for name in list(tensors):
        if name.endswith("running_var"):
            tensors[name] = tensors[name].abs() + 0.5
        elif name.endswith(("num_batches_tracked", "relative_position_index")):
            tensors[name] = torch.zeros(tensors[name].shape, dtype=torch.long)
        elif "_bbox_embed" in name:
            for i in range(sizes.layers):
                tensors[name.replace("_bbox_embed", f"bbox_embed.{i}")] = tensors[name].clone()
                tensors[name.replace("_bbox_embed", f"decoder.bbox_embed.{i}")] = tensors[name].clone()
        elif "decoder_norm" in name:
            tensors[name.replace("decoder_norm", "decoder.norm")] = tensors[name].clone()
    return tensors


def _language(sizes: ReleaseSizes) -> dict[str, Shape]:
    width = sizes.text
    named: dict[str, Shape] = {"model.embed_tokens.weight": (sizes.rows, width), "lm_head.weight": (sizes.rows, width)}
    for i in range(sizes.text_layers):
        layer = f"model.layers.{i}."
        named |= linear(layer + "self_attn.query_key_value", 3 * width, width)
        named |= linear(layer + "self_attn.dense", width, width)
        named |= linear(layer + "mlp.fc1", sizes.text_ffn, width) | linear(layer + "mlp.fc2", width, sizes.text_ffn)
        named |= norm(layer + "input_layernorm", width)
    return named | norm("model.final_layernorm", width)


def _swin(sizes: ReleaseSizes) -> dict[str, Shape]:
    tower, width = "model.vision_tower.", sizes.embed_dim
    named: dict[str, Shape] = {f"{tower}patch_embed.proj.weight": (width, 3, 4, 4)}
    named |= {f"{tower}patch_embed.proj.bias": (width,)} | norm(f"{tower}patch_embed.norm", width)
    for stage, (depth, heads) in enumerate(zip(sizes.depths, sizes.heads, strict=True)):
        for block in range(depth):
            own = f"{tower}layers.{stage}.blocks.{block}."
            named |= norm(own + "norm1", width) | norm(own + "norm2", width)
            named |= linear(own + "attn.qkv", 3 * width, width) | linear(own + "attn.proj", width, width)
            named |= linear(own + "mlp.fc1", 4 * width, width) | linear(own + "mlp.fc2", width, 4 * width)
            named[own + "attn.relative_position_bias_table"] = ((2 * sizes.window - 1) ** 2, heads)
            named[own + "attn.relative_position_index"] = (sizes.window**2, sizes.window**2)
        named |= norm(f"{tower}norm{stage}", width)
        if stage < 3:
            named |= norm(f"{tower}layers.{stage}.downsample.norm", 4 * width)
            named[f"{tower}layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
            width *= 2
    return named


def _connector(sizes: ReleaseSizes) -> dict[str, Shape]:
    block, width, source = "model.mm_projector.layer1.0.", sizes.connector, 8 * sizes.embed_dim
    named: dict[str, Shape] = {
        f"{block}conv1.weight": (width, source, 3, 3),
        f"{block}conv2.weight": (width, width, 3, 3),
        f"{block}downsample.0.weight": (width, source, 1, 1),
    }
    for name in ("bn1", "bn2", "downsample.1"):
        named |= norm(block + name, width)
        named |= {f"{block}{name}.running_mean": (width,), f"{block}{name}.running_var": (width,)}
        named[f"{block}{name}.num_batches_tracked"] = ()
    return named | linear("model.mm_projector.fc", sizes.text, width)


def _attention(name: str, width: int) -> dict[str, Shape]:
    return {
        **linear(f"{name}.sampling_offsets", 256, width),
        **linear(f"{name}.attention_weights", 128, width),
        **linear(f"{name}.value_proj", width, width),
        **linear(f"{name}.output_proj", width, width),
    }


def _pixel_decoder(sizes: ReleaseSizes) -> dict[str, Shape]:
    width, channels = sizes.width, [sizes.embed_dim * 2**i for i in range(4)]
    named: dict[str, Shape] = {"pixel_decoder.transformer.level_embed": (4, width)}
    for i, (source, kernel) in enumerate(((channels[1], 1), (channels[2], 1), (channels[3], 1), (channels[3], 3))):
        named[f"pixel_decoder.input_proj.{i}.0.weight"] = (width, source, kernel, kernel)
        named[f"pixel_decoder.input_proj.{i}.0.bias"] = (width,)
        named |= norm(f"pixel_decoder.input_proj.{i}.1", width)
    for i in range(sizes.encoder_layers):
        layer = f"pixel_decoder.transformer.encoder.layers.{i}."
        named |= _attention(layer + "self_attn", width) | norm(layer + "norm1", width) | norm(layer + "norm2", width)
        named |= linear(layer + "linear1", sizes.ffn, width) | linear(layer + "linear2", width, sizes.ffn)
    named["pixel_decoder.adapter_1.weight"] = (width, channels[0], 1, 1)
    named["pixel_decoder.layer_1.weight"] = (width, width, 3, 3)
    named |= norm("pixel_decoder.adapter_1.norm", width) | norm("pixel_decoder.layer_1.norm", width)
    return named | {
        "pixel_decoder.mask_features.weight": (width, width, 1, 1),
        "pixel_decoder.mask_features.bias": (width,),
    }


def _predictor(sizes: ReleaseSizes) -> dict[str, Shape]:
    width, own = sizes.width, "predictor."
    named: dict[str, Shape] = linear(own + "enc_output", width, width)
    named |= norm(own + "enc_output_norm", width) | norm(own + "decoder_norm", width)
    for i in range(3):
        named |= linear(f"{own}mask_embed.layers.{i}", width, width)
        named |= linear(f"{own}_bbox_embed.layers.{i}", width if i < 2 else 4, width)
    for i in range(2):
        named |= linear(f"{own}CLASS_proj.layers.{i}", width, width)
        named |= linear(f"{own}SEG_proj.layers.{i}", width, width)
        named |= linear(f"{own}decoder.ref_point_head.layers.{i}", width, width if i else 2 * width)
    for i in range(sizes.layers):
        layer = f"{own}decoder.layers.{i}."
        named |= _attention(layer + "cross_attn", width)
        named |= {
            layer + "self_attn.in_proj_weight": (3 * width, width),
            layer + "self_attn.in_proj_bias": (3 * width,),
        }
        named |= linear(layer + "self_attn.out_proj", width, width)
        for k in (1, 2, 3):
            named |= norm(f"{layer}norm{k}", width)
        named |= linear(layer + "linear1", sizes.ffn, width) | linear(layer + "linear2", width, sizes.ffn)
    return named


def _rest(sizes: ReleaseSizes) -> dict[str, Shape]:
    """Stuff queries, text projections, and what the release saves without using it."""
    width, text = sizes.width, sizes.text
    named: dict[str, Shape] = {
        "stuff_query.weight": (sizes.stuff, width),
        "stuff_embed.weight": (sizes.stuff, 4),
        "thing_query.weight": (sizes.queries, text),
        "thing_embed.weight": (sizes.queries, 4),
        "predictor.SEG_query_embed.weight": (sizes.queries, 4),
        "predictor.SEG_query_feat.weight": (sizes.queries, width),
    }
    named |= linear("class_name_projector", width, text) | linear("SEG_token_projector", width, text)
    for i in range(2):
        named |= linear(f"predictor.REGION_proj.layers.{i}", width, width)
    named |= linear("seg_query_projector", width, text) | linear("region_projector", width, text)
    return named | linear("expanded_seg_query_project", text, width)
