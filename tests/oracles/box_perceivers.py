"""The smallest models that write boxes: a tiny Qwen3-VL with random weights and a tiny mask decoder."""

from pathlib import Path

import torch

from mvplm.config import Config, load_config
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.qwen3vl_seg.build import build_box_mask
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver

SMALL = (
    "system=qwen3vl_seg",
    "box_mask.small={vocab_size: 420, width: 32, layers: 2, heads: 2, ffn: 48, vision_width: 32, vision_layers: 2, "
    "vision_heads: 2, vision_ffn: 48, image: 128}",
    "box_mask.decoder={width: 32, layers: 1, heads: 4, ffn: 64, position_grid: 8, bands: 8, "
    "stem_channels: [8, 16, 16]}",
    "box_mask.max_new_tokens=300",
    "box_mask.max_instances=3",
    "box_mask.label_tokens=6",
    "infer.batch_size=4",
    "train.device=cpu",
)
_TEXTS = (
    '[{"bbox_2d": [12, 345, 678, 90], "label": "it", "mask": "',
    "Locate and segment every instance",
    "a red star",
)


def box_config(*overrides: str) -> Config:
    """The configuration of a tiny model."""
    return load_config(None, [*SMALL, *overrides])


def tiny_box_perceiver(*overrides: str, seed: int = 0) -> BoxPerceiver:
    """A tiny model with seeded random weights that lets answers and masks depend on what it is asked."""
    config = box_config(*overrides)
    processor = None
    if config.box_mask.base is None:
        small = config.box_mask.small
        sizes = SmallSizes(**{name: getattr(small, name) for name in SmallSizes.__dataclass_fields__})
        processor = small_processor(small_tokenizer(_TEXTS * 40, vocab_size=small.vocab_size), sizes)
    torch.manual_seed(seed)
    system = build_box_mask(config, processor=processor)
    if config.box_mask.base is None:
        stir(system.model.base)
    with torch.no_grad():
        for parameter in system.model.mask_decoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return BoxPerceiver(system, config=config)


def stir(base: torch.nn.Module) -> None:
    """Weights that make answers differ between pictures (in place)."""
    with torch.no_grad():
        for parameter in base.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)


def save_tiny_base(folder: Path, *, width: int = 32) -> Path:
    """A tiny base model with its processor as transformers saves them, without mask tokens."""
    sizes = SmallSizes("qwen3_vl", width, 2, 2, 48, vision_width=32, vision_layers=2, vision_heads=2, vision_ffn=48)
    sizes = SmallSizes(**{**vars(sizes), "patch": 16, "merge": 2, "image": 128})
    torch.manual_seed(0)
    tokenizer = small_tokenizer(_TEXTS * 40, vocab_size=420)
    model = small_model(tokenizer, sizes)
    stir(model)
    model.save_pretrained(str(folder))
    small_processor(tokenizer, sizes).save_pretrained(str(folder))
    return folder
