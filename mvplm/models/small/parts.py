"""What small multimodal language models of all kinds share: sizes, control tokens, chat, and where patches are."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mvplm.structures.choices import check_choice

KINDS = ("qwen2_vl", "qwen3_vl", "llava")
PICTURE_ATTENTION = ("causal", "full")
END, PAD, ASK, TELL = "<|im_end|>", "<|endoftext|>", "<|ask|>", "<|tell|>"
START, STOP, IMAGE, VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
SPECIAL = (END, PAD, ASK, TELL, START, STOP, IMAGE, VIDEO)


def chat_template(picture: str) -> str:
    """One token before a question, one before an answer, one after it; ``picture`` stands for a picture."""
    return (
        "{% for turn in messages %}{% if turn.role == 'user' %}{% for part in turn.content %}"
        f"{{% if part.type == 'image' %}}{picture}{{% else %}}{ASK}{{{{ part.text }}}}{{% endif %}}"
        f"{{% endfor %}}{TELL}{{% else %}}{{% for part in turn.content %}}{{{{ part.text }}}}{{% endfor %}}{END}"
        "{% endif %}{% endfor %}"
    )


@dataclass(frozen=True)
class SmallSizes:
    """Sizes of a small model.

    Attributes:
        kind: architecture, one of ``KINDS``.
        width, layers, heads, ffn: of the language model. context: longest sequence.
        vision_width, vision_layers, vision_heads, vision_ffn: of the vision encoder; with "llava" of the transformer
            behind its convolutions.
        patch: side of a patch in pixels. merge: so many patches a side become one visual token.
        image: side in pixels for which positions are learned; other sizes are interpolated, and with "llava" pictures
            are resized to it.
        picture_attention: "causal", or "full", with "llava": visual tokens see all of their picture.
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
    picture_attention: str = "causal"

    def __post_init__(self) -> None:
        check_choice("kind of small model", self.kind, choices=KINDS)
        check_choice("picture_attention", self.picture_attention, choices=PICTURE_ATTENTION)
        if self.picture_attention == "full" and self.kind != "llava":
            raise ValueError(f"picture_attention 'full' needs kind 'llava', got {self.kind!r}")


def text_sizes(tokenizer: Any, sizes: SmallSizes) -> dict[str, Any]:
    """Settings of the language model, whatever its kind."""
    return {
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "intermediate_size": sizes.ffn,
        "max_position_embeddings": sizes.context,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def sine_places(side: int, width: int) -> Tensor:
    """Where patches are, (side * side, width rounded down to fours): sines of row, then column, at half size.

    Learned positions start at 0.02, where a patch of one colour, many times as large, drowns them; such a model never
    finds out where anything is.
    """
    periods = math.pi * 2.0 ** torch.linspace(0, math.log2(side), width // 4)
    angles = ((torch.arange(side) + 0.5) / side)[:, None] * periods
    waves = torch.cat([angles.sin(), angles.cos()], dim=1) / 2
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, -1)
