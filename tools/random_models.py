"""Models of the published sizes with random weights, ours and transformers', for measuring time and memory."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver

SIDE = 1024
_SPREAD = 0.02
_SWIN_B = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
# BERT's ids of the start, the end and the full stop, which separates names, and any word.
_START, _END, _STOP, _WORD = 101, 102, 1012, 4937


@dataclass(frozen=True)
class Peer:
    """A model of transformers and one call of it: ``run()`` answers about one picture of 1024 x 1024."""

    name: str
    parameters: int
    run: Callable[[], object]


def random_perceiver(dtype: str, preset: str = "mvplm-swin-b-phi-1.5") -> "Perceiver":
    """A perceiver of ``preset`` whose weights are random; nothing is made in another dtype first.

    Args:
        dtype: "bf16" or "fp32". preset: name of an architecture.
    """
    from mvplm.build import build_model, build_postprocess, build_tokenizer
    from mvplm.config import load_config
    from mvplm.engine import parameters_on_meta
    from mvplm.models.precision import storage_dtype
    from mvplm.perceiver import Perceiver

    config = load_config(None, [f"model.preset={preset}", "model.llm.tokenizer=scenes"])
    tokenizer = build_tokenizer(config)
    with parameters_on_meta():
        model = build_model(config, tokenizer)
    torch.manual_seed(0)
    drawn = {
        name: _drawn(name, value, dtype=storage_dtype(name, value, half=dtype == "bf16"))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(drawn, assign=True)
    return Perceiver(model, tokenizer, config=config, settings=build_postprocess(config), dtype=dtype)


def _drawn(name: str, value: Tensor, *, dtype: torch.dtype) -> Tensor:
    if not value.is_floating_point():
        return torch.zeros(value.shape, dtype=dtype)
    if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
        return torch.ones(value.shape, dtype=dtype)
    if value.ndim == 1:
        return torch.zeros(value.shape, dtype=dtype)
    return torch.empty(value.shape, dtype=dtype).normal_(std=_SPREAD)


def picture() -> Tensor:
    """A picture (3, 1024, 1024) uint8 of smooth noise."""
    torch.manual_seed(1)
    coarse = torch.rand(1, 3, 32, 32)
    return (nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic").clamp(0, 1)[0] * 255).byte()


def many_names(count: int) -> list[str]:
    """Different names of two words, and of three where those are used up."""
    from mvplm.data.scenes import NAME_VOCABULARY

    known = list(NAME_VOCABULARY.names)
    words = sorted({word for name in known for word in name.split()})
    pairs = [" ".join(pair) for pair in permutations(words, 2)]
    triples = [" ".join(triple) for triple in permutations(words, 3)]
    return list(dict.fromkeys(known + pairs + triples))[:count]


def mask2former(*, half: bool = False) -> Peer:
    """Mask2Former with Swin-B and 133 names; ``half`` runs it under bfloat16 autocast."""
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    backbone = SwinConfig(**_SWIN_B, image_size=SIDE, out_features=_STAGES)
    model = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone, num_labels=133)).eval()
    pixels = _normalised()
    return _peer("Mask2Former Swin-B", model, call=lambda: model(pixel_values=pixels), half=half)


def grounding_dino(names: int = 80, *, half: bool = False) -> Peer:
    """Grounding DINO base asked for ``names`` names of one word; ``half`` runs it under bfloat16 autocast."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    backbone = SwinConfig(**_SWIN_B, image_size=SIDE, out_features=_STAGES[1:])
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=backbone)).eval()
    ids = torch.tensor([[_START, *[_WORD, _STOP] * names, _END]])
    pixels = _normalised()
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    return _peer("Grounding DINO base", model, call=lambda: model(pixel_values=pixels, **inputs), half=half)


def _normalised() -> Tensor:
    return (picture().float()[None] - 120) / 60


def _peer(name: str, model: nn.Module, *, call: Callable[[], object], half: bool) -> Peer:
    @torch.inference_mode()
    def run() -> object:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            return call()

    return Peer(name, sum(p.numel() for p in model.parameters()), run)
