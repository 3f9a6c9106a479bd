"""Tiny random multimodal language models of four families, built without any download."""

import copy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from mvplm.data.written import WrittenCollate
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.models.small.parts import chat_template
from mvplm.models.text_mask import TextMaskModel, add_mask_tokens
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.plain import PlainTokenizer
from mvplm.textmask import get_codec

FAMILIES = ("qwen2_vl", "qwen3_vl", "internvl", "llava")
_TEXTS = (
    "foreground background start of end name box mask 0123456789",
    "Segment every object described as: the red star left of the ring. If there is none, say so.",
    "No object in the image matches the request.",
)
_TEXT = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 1024,
}
_VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


@cache
def vlm_parts(family: str) -> dict[str, Any]:
    """``model``, ``processor`` of a family with random weights that make answers differ between pictures."""
    torch.manual_seed(0)
    tokenizer = small_tokenizer(_TEXTS * 50, vocab_size=500)
    if family in ("qwen2_vl", "qwen3_vl"):
        sizes = SmallSizes(
            family, 48, 2, 4, 64, vision_width=32, vision_layers=2, vision_heads=2, vision_ffn=48, image=64
        )
        model, processor = small_model(tokenizer, sizes), small_processor(tokenizer, sizes)
    else:
        model, processor = _internvl(tokenizer) if family == "internvl" else _llava(tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
    return {"model": model, "processor": processor}


def _text(tokenizer: Any) -> dict[str, Any]:
    return {**_TEXT, "vocab_size": 512, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}


def _llava(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, CLIPImageProcessor, LlavaConfig, LlavaProcessor

    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **_VISION, "image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama", **_text(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        image_token="<|image_pad|>",
        num_additional_image_tokens=1,
        chat_template=chat_template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return AutoModelForImageTextToText.from_config(config), processor


def _internvl(tokenizer: Any) -> tuple[Any, Any]:
    from transformers import (
        AutoModelForImageTextToText,
        GotOcr2ImageProcessor,
        InternVLConfig,
        InternVLProcessor,
        InternVLVideoProcessor,
    )

    names = {"start_image_token": "<|vision_start|>", "end_image_token": "<|vision_end|>"}
    names |= {"context_image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    for name, token in names.items():
        tokenizer._set_model_specific_special_tokens({name: token})
    config = InternVLConfig(
        vision_config={**_VISION, "image_size": [32, 32], "patch_size": [8, 8], "use_mean_pooling": True},
        text_config={"model_type": "qwen2", **_text(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    pictures = GotOcr2ImageProcessor(size={"height": 32, "width": 32}, crop_to_patches=False)
    template = chat_template("<|image_pad|>")
    processor = InternVLProcessor(
        pictures, tokenizer, InternVLVideoProcessor(), image_seq_length=4, chat_template=template
    )
    return AutoModelForImageTextToText.from_config(config), processor


@cache
def text_mask_parts(family: str, codec_name: str = "bsd_bricks", grid: int = 16) -> "Parts":
    """A text-mask model of a family with everything that makes batches for it."""
    parts = vlm_parts(family)
    model, processor = copy.deepcopy(parts["model"]), copy.deepcopy(parts["processor"])
    codec = get_codec(codec_name, grid=grid)
    new = add_mask_tokens(model, processor.tokenizer, codec=codec)
    tokenizer = PlainTokenizer(processor.tokenizer)
    frame = ChatFrame.of(processor, tokenizer)
    network = TextMaskModel(model, codec=codec, tokenizer=tokenizer, ends=[frame.end]).eval()
    return Parts(network, processor, WrittenCollate(processor, tokenizer, frame=frame), new)


@dataclass(frozen=True)
class Parts:
    """A model, its processor, its collate function, and the ids of its new tokens."""

    model: TextMaskModel
    processor: Any
    collate: WrittenCollate
    new: list[int]


def picture(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Random uint8 (3, height, width)."""
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
