"""The smallest complete network that can be configured, built once per process, for tests of whole runs."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from mvplm.build import build_model, build_postprocess
from mvplm.config import Config, load_config
from mvplm.perceiver import Perceiver
from mvplm.prompts import PAPER_CONTROLS, RELEASED_CONTROLS, SUFFIX_TOKEN, PromptTokenizer, train_scenes_tokenizer
from mvplm.structures import Vocabulary

NAMES = ("star", "ring", "sky", "green circle", "sand")
VOCABULARY = Vocabulary(NAMES, (True, True, False, True, False))
_TEXTS = (", ".join(NAMES), "the star left of the green circle", "A ring and a star on sand under the sky.")

SETTINGS = (
    "model.encoder.kind=timm",
    "model.encoder.name=resnet18",
    "model.encoder.kwargs={channels: [8, 16, 16, 24], layers: [1, 1, 1, 1], stem_type: deep, stem_width: 8}",
    "model.encoder.train=true",
    "model.connector={stride: 32, width: 24}",
    "model.llm={vocab_size: 600, embedding_rows: 0, hidden_size: 48, layers: 2, heads: 4, ffn: 96, attention: eager}",
    "model.query.num=10",
    "model.stuff.num=4",
    "model.pixel_decoder={width: 48, mask_width: 24, layers: 1, heads: 4, points: 2, ffn: 48}",
    "model.decoder={layers: 2, heads: 4, points: 2, ffn: 48}",
    "model.dn.budget=8",
    "image.size=64",
    "match.num_points=64",
    "loss.num_points=64",
    "infer={max_new_tokens: 5, batch_size: 2}",
)
"""Overrides that make the published architecture tiny."""


def tiny_config(*overrides: str) -> Config:
    """The configuration of the tiny network, with more overrides."""
    return load_config(None, [*SETTINGS, *overrides])


def tiny_yaml(folder: Path, settings: dict) -> Path:
    """A config file ``folder/run.yaml`` of the tiny network with more settings (nested sections)."""
    from omegaconf import OmegaConf

    node = OmegaConf.merge(OmegaConf.from_dotlist(list(SETTINGS)), OmegaConf.create(settings))
    path = folder / "run.yaml"
    path.write_text(OmegaConf.to_yaml(node), encoding="utf-8")
    return path


@cache
def tiny_tokenizer(controls: tuple[str, ...] = PAPER_CONTROLS) -> PromptTokenizer:
    """A byte-level tokenizer that knows a few words."""
    return train_scenes_tokenizer(_TEXTS, vocab_size=600, controls=controls)


def build_tiny(seed: int = 0, *overrides: str) -> Perceiver:
    """A fresh perceiver around the tiny network; random, but with boxes, words and texts that differ."""
    config = tiny_config(*overrides)
    paper = (*PAPER_CONTROLS, SUFFIX_TOKEN) if config.model.text.pool_suffix else PAPER_CONTROLS
    tokenizer = tiny_tokenizer(paper if config.response.token == "<PER>" else RELEASED_CONTROLS)
    torch.manual_seed(seed)
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("heads.box.") or "sampling_offsets.weight" in name or "attention_weights" in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
            elif name.startswith("llm.") and parameter.ndim > 1:
                parameter.normal_(std=0.2)
    return Perceiver(model, tokenizer, config=config, settings=build_postprocess(config), vocabulary=VOCABULARY)


@cache
def tiny_perceiver() -> Perceiver:
    """The one perceiver that read-only tests share."""
    return build_tiny()


def noise_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """RGB uint8 (height, width, 3): a few rectangles of random colours."""
    rng = np.random.default_rng(seed)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = rng.integers(0, 256, 3)
    for _ in range(6):
        top, left = rng.integers(0, height), rng.integers(0, width)
        picture[top : top + height // 3 + 1, left : left + width // 3 + 1] = rng.integers(0, 256, 3)
    return picture


def count_calls(module: torch.nn.Module) -> tuple[Sequence[int], torch.utils.hooks.RemovableHandle]:
    """Batch sizes of the calls of a module, as they happen, and the handle that stops the counting."""
    sizes: list[int] = []
    return sizes, module.register_forward_hook(lambda _, given, __: sizes.append(len(given[0])))
