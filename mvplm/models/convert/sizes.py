"""Sizes of a network, read off its tensors under library names."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mvplm.models.convert.source import Options
from mvplm.models.convert.swin import SWIN

_TABLE = r"attention\.relative_position_bias\.relative_position_bias_table"


def infer_settings(tensors: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    """Configuration tree ``{"model": ...}`` of the sizes of the parts that are there.

    Args:
        tensors: by library name.
        options: numbers of heads, which no tensor shows.

    Raises:
        ValueError: heads that do not divide what they should.
    """
    readers = {
        "encoder": _encoder,
        "connector": _connector,
        "llm": _language,
        "pixel_decoder": _pixel_decoder,
        "decoder": _decoder,
        "stuff": _stuff,
    }
    model = {}
    for part, read in readers.items():
        own = {name.removeprefix(part + "."): tensor for name, tensor in tensors.items() if name.startswith(part + ".")}
        settings = read(own, options) if own else {}
        if settings:
            model[part] = settings
    return {"model": model}


def _encoder(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    swin = SWIN.removeprefix("encoder.")
    first = own.get(f"{swin}embeddings.patch_embeddings.projection.weight")
    tables = {
        (int(match[1]), int(match[2])): tensor
        for name, tensor in own.items()
        if (match := re.fullmatch(re.escape(swin) + rf"encoder\.layers\.(\d+)\.blocks\.(\d+)\.{_TABLE}", name))
    }
    if first is None or not tables:
        return {}
    stages = sorted({stage for stage, _ in tables})
    return {
        "kind": "swin",
        "kwargs": {
            "embed_dim": first.shape[0],
            "depths": [sum(s == stage for s, _ in tables) for stage in stages],
            "num_heads": [tables[stage, 0].shape[1] for stage in stages],
            "window_size": (round(tables[0, 0].shape[0] ** 0.5) + 1) // 2,
        },
    }


def _connector(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    return {"width": own["conv1.weight"].shape[0]} if "conv1.weight" in own else {}


def _language(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    rows, first = own.get("model.embed_tokens.weight"), own.get("model.layers.0.mlp.fc1.weight")
    if rows is None or first is None:
        return {}
    return {
        "embedding_rows": rows.shape[0],
        "hidden_size": rows.shape[1],
        "layers": _count(own, r"model\.layers\.(\d+)\..*"),
        "heads": options.text_heads,
        "ffn": first.shape[0],
    }


def _pixel_decoder(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    levels, mask = own.get("level_embed"), own.get("mask_features.weight")
    weights, first = own.get("encoder.0.self_attn.attention_weights.bias"), own.get("encoder.0.linear1.weight")
    if levels is None or mask is None or weights is None or first is None:
        return {}
    return {
        "width": levels.shape[1],
        "mask_width": mask.shape[0],
        "layers": _count(own, r"encoder\.(\d+)\..*"),
        "heads": options.heads,
        "points": _points(weights, levels=levels.shape[0], heads=options.heads),
        "ffn": first.shape[0],
        "levels": levels.shape[0],
    }


def _decoder(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    first = own.get("layers.0.linear1.weight")
    if first is None:
        return {}
    return {"layers": _count(own, r"layers\.(\d+)\..*"), "heads": options.heads, "ffn": first.shape[0]}


def _stuff(own: Mapping[str, Tensor], options: Options) -> dict[str, Any]:
    return {"num": own["content"].shape[0]} if "content" in own else {}


def _points(weights: Tensor, *, levels: int, heads: int) -> int:
    points, rest = divmod(weights.shape[0], levels * heads)
    if rest:
        raise ValueError(f"{weights.shape[0]} attention weights cannot belong to {levels} levels and {heads} heads")
    return points


def _count(own: Mapping[str, Tensor], pattern: str) -> int:
    numbers = {int(match[1]) for name in own if (match := re.fullmatch(pattern, name))}
    return len(numbers)
