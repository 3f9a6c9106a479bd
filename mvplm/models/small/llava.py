"""A small LLaVA whose vision encoder begins with convolutions, which learn to see from far fewer pictures than patches.

Source: R+ViT of "An image is worth 16x16 words" (arXiv 2010.11929), as in DPT-Hybrid: a ResNet, then a transformer with
learned positions on its features. Sizes are ours.
"""

from typing import Any

import torch
from torch import nn

from mvplm.models.small.gabor import start_with_gabor
from mvplm.models.small.parts import IMAGE, SmallSizes, chat_template, sine_places, text_sizes
from mvplm.models.small.whole_pictures import FULL

TOKEN_SIDE = 16
"""Pixels a side of a visual token: the three stages of the ResNet see 4, 8 and 16."""
_STEM_SHARE = 4
_GREY = [0.5, 0.5, 0.5]


def llava_processor(tokenizer: Any, sizes: SmallSizes) -> Any:
    """Its processor: every picture becomes a square of ``sizes.image`` pixels a side."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    square = {"height": sizes.image, "width": sizes.image}
    return LlavaProcessor(
        CLIPImageProcessor(size=square, do_center_crop=False, image_mean=_GREY, image_std=_GREY),
        tokenizer,
        patch_size=TOKEN_SIDE,
        vision_feature_select_strategy="default",
        image_token=IMAGE,
        num_additional_image_tokens=1,
        chat_template=chat_template(IMAGE),
    )


def llava_model(tokenizer: Any, sizes: SmallSizes) -> nn.Module:
    """The model with random weights; the language model does not get the class token of its vision encoder.

    Raises:
        ValueError: visual tokens of another size than convolutions make, or a picture that they do not divide.
    """
    from transformers import AutoModelForImageTextToText, LlavaConfig

    if sizes.patch * sizes.merge != TOKEN_SIDE or sizes.image % TOKEN_SIDE:
        raise ValueError(
            f"visual tokens of a small llava have {TOKEN_SIDE} pixels a side: patch times merge must be {TOKEN_SIDE}, "
            f"and image a multiple of it (got patch {sizes.patch}, merge {sizes.merge}, image {sizes.image})"
        )
    text = text_sizes(tokenizer, sizes) | {"model_type": "qwen3", "head_dim": sizes.width // sizes.heads}
    config = LlavaConfig(
        vision_config=_vision(sizes),
        text_config=text | {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}},
        image_token_id=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(sizes.image // TOKEN_SIDE) ** 2,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
        use_bidirectional_attention=FULL if sizes.picture_attention == "full" else None,
    )
    model: Any = AutoModelForImageTextToText.from_config(config)
    positions = model.model.vision_tower.embeddings.position_embeddings
    with torch.no_grad():
        places = sine_places(sizes.image // TOKEN_SIDE, sizes.vision_width)
        positions[0, 1:, : places.shape[1]] = places
    start_with_gabor(model.model.vision_tower.embeddings.backbone.embedder.embedder.convolution)
    # A third less time a step on processors.
    model.model.vision_tower.to(memory_format=torch.channels_last)
    return model  # type: ignore[no-any-return]


def _vision(sizes: SmallSizes) -> dict[str, Any]:
    width, side = sizes.vision_width, sizes.image // TOKEN_SIDE
    return {
        "model_type": "dpt",
        "is_hybrid": True,
        "backbone_config": {
            "model_type": "resnet",
            "layer_type": "basic",
            "embedding_size": width // _STEM_SHARE,
            "hidden_sizes": [width // 4, width // 2, width],
            "depths": [1, 1, 1],
            "out_features": ["stage1", "stage2", "stage3"],
        },
        "backbone_featmap_shape": [1, width, side, side],
        "hidden_size": width,
        "num_hidden_layers": sizes.vision_layers,
        "num_attention_heads": sizes.vision_heads,
        "intermediate_size": sizes.vision_ffn,
        "image_size": sizes.image,
        "patch_size": TOKEN_SIDE,
    }
