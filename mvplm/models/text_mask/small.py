"""Small multimodal language models with random weights, built from settings alone: nothing is downloaded.

They are the classes of transformers at toy size, so whatever holds for them holds for the published ones.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.prompts.tokens import byte_level_bpe
from mvplm.structures.choices import check_choice

KINDS = ("qwen2_vl", "qwen3_vl")
_END, _PAD, _ASK, _TELL = "<|im_end|>", "<|endoftext|>", "<|ask|>", "<|tell|>"
_START, _STOP, _IMAGE, _VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
_SPECIAL = (_END, _PAD, _ASK, _TELL, _START, _STOP, _IMAGE, _VIDEO)
CHAT_TEMPLATE = (
    "{% for turn in messages %}{% if turn.role == 'user' %}{% for part in turn.content %}"
    f"{{% if part.type == 'image' %}}{_START}{_IMAGE}{_STOP}{{% else %}}{_ASK}{{{{ part.text }}}}{{% endif %}}"
    f"{{% endfor %}}{_TELL}{{% else %}}{{% for part in turn.content %}}{{{{ part.text }}}}{{% endfor %}}{_END}"
    "{% endif %}{% endfor %}"
)
"""One token before a question, one before an answer, one after it."""


@dataclass(frozen=True)
class SmallSizes:
    """Sizes of a small model.

    Attributes:
        kind: architecture, one of ``KINDS``.
        width, layers, heads, ffn: of the language model. context: longest sequence.
        vision_width, vision_layers, vision_heads, vision_ffn: of the vision encoder.
        patch: side of a patch in pixels. merge: so many patches a side become one visual token.
        image: side in pixels for which positions are learned; other sizes are interpolated.
    """

    kind: str = "qwen3_vl"
    width: int = 192
    layers: int = 6
    heads: int = 6
    ffn: int = 768
    context: int = 1024
    vision_width: int = 128
    vision_layers: int = 4
    vision_heads: int = 4
    vision_ffn: int = 384
    patch: int = 8
    merge: int = 2
    image: int = 192

    def __post_init__(self) -> None:
        check_choice("kind of small model", self.kind, choices=KINDS)


def small_tokenizer(texts: Iterable[str], *, vocab_size: int) -> Any:
    """A byte-level tokenizer with single digits, the control tokens of pictures and a chat template.

    Args:
        texts: what prompts and answers will be made of. vocab_size: number of ids.
    """
    from transformers import PreTrainedTokenizerFast

    backend = byte_level_bpe(texts, vocab_size=vocab_size, specials=_SPECIAL, single_digits=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=_END, pad_token=_PAD, extra_special_tokens=list(_SPECIAL[2:])
    )


def small_processor(tokenizer: Any, sizes: SmallSizes) -> Any:
    """The processor of a small model: pictures keep their size up to multiples of a visual token's side."""
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
        return Qwen3VLProcessor(pictures, tokenizer, Qwen3VLVideoProcessor(**common), chat_template=CHAT_TEMPLATE)
    return Qwen2VLProcessor(pictures, tokenizer, Qwen2VLVideoProcessor(**common), chat_template=CHAT_TEMPLATE)


def small_model(tokenizer: Any, sizes: SmallSizes) -> nn.Module:
    """A model with random weights for a tokenizer of :func:`small_tokenizer`."""
    from transformers import AutoModelForImageTextToText, Qwen2VLConfig, Qwen3VLConfig

    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKEN_IDS.items()}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": _sections(sizes.width // sizes.heads)}
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "intermediate_size": sizes.ffn,
        "max_position_embeddings": sizes.context,
        "rope_parameters": rope,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }
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
            places = _places(sizes.image // sizes.patch, table.shape[1])
            table[:, : places.shape[1]] = places
    return model


def _places(side: int, width: int) -> Tensor:
    """Where patches are, (side * side, width rounded down to fours): sines of row, then column, at half size.

    Learned positions start at 0.02, where a patch of one colour, many times as large, drowns them; such a model never
    finds out where anything is.
    """
    periods = math.pi * 2.0 ** torch.linspace(0, math.log2(side), width // 4)
    angles = ((torch.arange(side) + 0.5) / side)[:, None] * periods
    waves = torch.cat([angles.sin(), angles.cos()], dim=1) / 2
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, -1)


_TOKEN_IDS = {
    "image_token_id": _IMAGE,
    "video_token_id": _VIDEO,
    "vision_start_token_id": _START,
    "vision_end_token_id": _STOP,
}


def _sections(head: int) -> list[int]:
    """Frequencies for time, height and width, which add up to half of a head."""
    side = head // 2 * 3 // 8
    return [head // 2 - 2 * side, side, side]
