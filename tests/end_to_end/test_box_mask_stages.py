"""From the first stage of a model that writes boxes to the second: its adapters become part of the base."""

from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.box_perceivers import box_config, save_tiny_base
from safetensors.torch import load_file

import mvplm
from mvplm.config import Config
from mvplm.qwen3vl_seg.loading import load_box_for_evaluation
from mvplm.qwen3vl_seg.merging import merge_box_mask
from mvplm.runs import run_training

SOURCE = (
    "data.sources.names={dataset: scenes/train, options: {role: referring, num: 8, size: 96}, task: instance, "
    "form: category, batch_size: 2}"
)


def stage(out: Path, base: Path, *overrides: str) -> Config:
    usual = (f"box_mask.base={base}", "box_mask.processor={size: {shortest_edge: 4096, longest_edge: 4096}}", SOURCE)
    schedule = ("data.num_workers=0", "optim.ema_decay=0", "train.precision=fp32", "train.eval_every=0")
    return box_config(*usual, *schedule, f"train.output={out}", *overrides)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Config:
    config = stage(
        tmp_path_factory.mktemp("runs") / "first",
        base,
        "box_mask.lora={rank: 4, alpha: 8}",
        "box_mask.vision_lr_scale=0.01",
        "optim.lr=1e-2",
        "train.steps=3",
        "train.checkpoint_every=3",
    )
    run_training(config)
    return config


def test_the_second_stage_starts_where_the_first_ended(tmp_path: Path, base: Path, first: Config):
    merged = merge_box_mask(first, tmp_path / "merged")
    before, after = (load_file(folder / "model.safetensors") for folder in (base, merged / "model"))
    moved = [name for name, value in after.items() if name not in before or not torch.equal(value, before[name])]
    assert any("q_proj" in name for name in moved)
    second = stage(
        tmp_path / "second",
        merged / "model",
        "box_mask.vision_lr_scale=0",
        "optim.lr=1e-12",
        "optim.weight_decay=0",
        "train.steps=1",
        "train.checkpoint_every=1",
        f"train.init_from={merged / 'start.safetensors'}",
        "train.init_allow=[base.]",
    )
    run_training(second)
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    boxes = torch.tensor([[8.0, 8.0, 60.0, 70.0]])
    answers = [
        load_box_for_evaluation(config, None).predict(picture, text="a red star", boxes=boxes)
        for config in (first, second)
    ]
    answers.append(mvplm.load(Path(second.train.output) / "model").predict(picture, text="a red star", boxes=boxes))
    ended, started, saved = (answer.instances for answer in answers)
    assert ended is not None and started is not None and saved is not None
    assert torch.equal(saved.scores, started.scores) and torch.equal(saved.masks, started.masks)
    assert torch.allclose(ended.scores, started.scores, atol=1e-4)
    assert (ended.masks == started.masks).float().mean() > 0.999


def test_adapters_that_were_not_merged_are_refused(tmp_path: Path, base: Path, first: Config):
    start = Path(first.train.output) / "checkpoints" / "step_000003"
    unmerged = stage(tmp_path / "second", base, "train.steps=1", f"train.init_from={start}")
    with pytest.raises(ValueError, match="adapters that were not merged"):
        run_training(unmerged)


def test_a_run_without_adapters_has_nothing_to_merge(tmp_path: Path, base: Path):
    config = stage(tmp_path / "whole", base, "train.steps=1", "train.checkpoint_every=1")
    run_training(config)
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_box_mask(config, tmp_path / "merged")
