"""A small Qwen2-VL or Qwen3-VL: patches, a transformer over them, and tokens of several patches each."""

from typing import Any

import torch
from torch import nn

from mvplm.models.small.parts import IMAGE, START, STOP, VIDEO, SmallSizes, chat_template, sine_places, text_sizes

_CHAT = chat_template(f"{START}{IMAGE}{STOP}")


def qwen_processor(tokenizer: Any, sizes: SmallSizes) -> Any:
    """Its processor: pictures keep their size up to multiples of a visual token's side."""
    from transformers import (
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    side = sizes.patch * sizes.merge
    common = {
        "patch_size": sizes.patch,
        "merge_size": sizes.merge,
        "temporal_patch_size": 1,
        "size": {"shortest_edge": side * side, "longest_edge": 16 * sizes.image * sizes.image},
    }
    pictures = Qwen2VLImageProcessor(**common)
    if sizes.kind == "qwen3_vl":
        return Qwen3VLProcessor(pictures, tokenizer, Qwen3VLVideoProcessor(**common), chat_template=_CHAT)
    return Qwen2VLProcessor(pictures, tokenizer, Qwen2VLVideoProcessor(**common), chat_template=_CHAT)


def qwen_model(tokenizer: Any, sizes: SmallSizes) -> nn.Module:
    """The model with random weights, of the kind that ``sizes`` names."""
    from transformers import AutoModelForImageTextToText, Qwen2VLConfig, Qwen3VLConfig

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKEN_IDS.items()}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": _sections(sizes.width // sizes.heads)}
    text = text_sizes(tokenizer, sizes) | {"rope_parameters": rope}
    vision = {
        "depth": sizes.vision_layers,
        "num_heads": sizes.vision_heads,
        "patch_size": sizes.patch,
        "temporal_patch_size": 1,
        "spatial_merge_size": sizes.merge,
    }
    if sizes.kind == "qwen3_vl":
        text |= {"head_dim": sizes.width // sizes.heads}
        vision |= {
            "hidden_size": sizes.vision_width,
            "out_hidden_size": sizes.width,
            "intermediate_size": sizes.vision_ffn,
            "num_position_embeddings": (sizes.image // sizes.patch) ** 2,
            "deepstack_visual_indexes": [sizes.vision_layers // 2 - 1],
        }
        config: Any = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    else:
        ratio = sizes.vision_ffn // sizes.vision_width
        vision |= {"embed_dim": sizes.vision_width, "hidden_size": sizes.width, "mlp_ratio": ratio}
        config = Qwen2VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    model = AutoModelForImageTextToText.from_config(config)
    if sizes.kind == "qwen3_vl":
        table = model.model.visual.pos_embed.weight
        with torch.no_grad():
            places = sine_places(sizes.image // sizes.patch, table.shape[1])
            table[:, : places.shape[1]] = places
    return model


_TOKEN_IDS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": STOP,
}


def _sections(head: int) -> list[int]:
    """Frequencies for time, height and width, which add up to half of a head."""
    side = head // 2 * 3 // 8
    return [head // 2 - 2 * side, side, side]
