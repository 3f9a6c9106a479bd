"""The smallest runs of models that write masks: a tiny Qwen3-VL on small scenes, alone or with adapters on a base."""

from pathlib import Path

import torch

from mvplm.config import Config, load_config
from mvplm.text4seg.build import build_text_mask

SETTINGS = (
    "system=text4seg",
    "text_mask.small={kind: qwen3_vl, vocab_size: 400, width: 32, layers: 2, heads: 2, ffn: 48, vision_width: 32, "
    "vision_layers: 2, vision_heads: 2, vision_ffn: 48, patch: 16, merge: 1, image: 96}",
    "text_mask.codec=canvas",
    "text_mask.grid=8",
    "text_mask.wordings=1",
    "text_mask.max_length=700",
    "text_mask.max_new_tokens=64",
    "data.sources.refer={dataset: scenes/train, options: {role: referring, num: 40, seed: 7, size: 96}, task: gres, "
    "batch_size: 2, questions: 2}",
    "data.max_bad_share=0.5",
    "eval.sets.referring={dataset: scenes/val, options: {role: referring, num: 2, size: 96}, task: gres}",
    "eval.batch_size=4",
    "infer.batch_size=2",
    "optim={lr: 0.003, warmup_ratio: 0, schedule: constant}",
    "train={steps: 6, checkpoint_every: 3, log_every: 1, device: cpu}",
)


def run_config(output: Path, *overrides: str) -> Config:
    """The configuration of a tiny run."""
    return load_config(None, [*SETTINGS, f"train.output={output}", *overrides])


def save_base(folder: Path) -> Path:
    """A tiny base model with its processor as transformers saves them, without the tokens of masks."""
    from oracles.small_vlms import vlm_parts

    torch.manual_seed(0)
    parts = vlm_parts("qwen3_vl")
    parts["model"].save_pretrained(str(folder))
    parts["processor"].save_pretrained(str(folder))
    return folder


def build_run(output: Path, *overrides: str):
    """The system of a tiny run with seeded weights."""
    torch.manual_seed(0)
    return build_text_mask(run_config(output, *overrides))
