"""Sizes of the base models that Qwen3-VL-Seg is put on, by name."""

from typing import Any

from mvplm.structures.choices import check_choice

_TEXT = {"head_dim": 128, "vocab_size": 151936}
_SMALL_VISION = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": [5, 11, 17],
}
_LARGE_VISION = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "deepstack_visual_indexes": [8, 16, 24],
}


def _text(width: int, *, layers: int, heads: int, ffn: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": width, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**_TEXT, **sizes, "num_key_value_heads": 8, **more}


# Public configurations of Qwen3-VL; text settings, vision settings, whether input and output embeddings are one.
_SIZES: dict[str, dict[str, Any]] = {
    "2b": {"text": _text(2048, layers=28, heads=16, ffn=6144), "vision": _SMALL_VISION, "tied": True},
    "4b": {"text": _text(2560, layers=36, heads=32, ffn=9728), "vision": _SMALL_VISION, "tied": True},
    "8b": {"text": _text(4096, layers=36, heads=32, ffn=12288), "vision": _LARGE_VISION, "tied": False},
    "30b-a3b": {
        "text": _text(
            2048,
            layers=48,
            heads=32,
            ffn=6144,
            num_key_value_heads=4,
            moe_intermediate_size=768,
            num_experts=128,
            num_experts_per_tok=8,
        ),
        "vision": _LARGE_VISION,
        "tied": False,
    },
    # For tests: every part is there, nothing is large.
    "tiny": {
        "text": {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "vocab_size": 512,
            "rope_parameters": {
                "rope_type": "default",
                "mrope_section": [4, 2, 2],
                "mrope_interleaved": True,
                "rope_theta": 5e6,
            },
        },
        "vision": {
            "depth": 4,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "deepstack_visual_indexes": [0, 1, 2],
            "num_position_embeddings": 64,
        },
        "tied": False,
        "ids": {"image_token_id": 500, "video_token_id": 501, "vision_start_token_id": 502, "vision_end_token_id": 503},
        "decoder": {
            "width": 32,
            "layers": 1,
            "heads": 4,
            "ffn": 64,
            "position_grid": 8,
            "bands": 8,
            "stem_channels": (8, 16, 16),
        },
    },
}
_PREFIX = "qwen3vl-seg-"
NAMES = tuple(_PREFIX + size for size in _SIZES)
"""Names of the architectures."""


def base_config(name: str) -> Any:
    """The transformers configuration of an architecture's base model, without any download.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    from transformers import Qwen3VLConfig, Qwen3VLMoeConfig

    check_choice("model", name, choices=NAMES)
    size = _SIZES[name.removeprefix(_PREFIX)]
    family = Qwen3VLMoeConfig if "num_experts" in size["text"] else Qwen3VLConfig
    vision = {"num_heads": 16, **size["vision"], "out_hidden_size": size["text"]["hidden_size"]}
    text = {**size["text"], "tie_word_embeddings": size["tied"]}
    return family(text_config=text, vision_config=vision, tie_word_embeddings=size["tied"], **size.get("ids", {}))


def decoder_settings(name: str) -> dict[str, Any]:
    """Settings of an architecture's mask decoder that differ from the defaults.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    check_choice("model", name, choices=NAMES)
    return dict(_SIZES[name.removeprefix(_PREFIX)].get("decoder", {}))


def base_model(config: Any) -> Any:
    """The base model of a configuration with random weights on the current default device.

    Raises:
        ValueError: the configuration is not that of a Qwen3-VL.
    """
    from transformers import (
        Qwen3VLConfig,
        Qwen3VLForConditionalGeneration,
        Qwen3VLMoeConfig,
        Qwen3VLMoeForConditionalGeneration,
    )

    if isinstance(config, Qwen3VLConfig):
        return Qwen3VLForConditionalGeneration(config)
    if isinstance(config, Qwen3VLMoeConfig):
        return Qwen3VLMoeForConditionalGeneration(config)
    raise ValueError(f"expected a Qwen3VLConfig or Qwen3VLMoeConfig, got {type(config).__name__}")
