"""The estimate of a run of a model that writes masks."""

from pathlib import Path

import pytest
from oracles.box_perceivers import save_tiny_base
from oracles.text_mask_runs import run_config, save_base

from mvplm.config import load_config
from mvplm.dry_run import estimate, format_estimate
from mvplm.qwen3vl_seg.build import build_box_mask
from mvplm.qwen3vl_seg.build_training import set_trained
from mvplm.text4seg.build import build_text_mask

SMALLER = "box_mask.processor={size: {shortest_edge: 4096, longest_edge: 4096}}"


def test_adapters_on_a_base_that_is_never_loaded(tmp_path: Path):
    base = save_base(tmp_path / "base")
    config = run_config(
        tmp_path,
        f"text_mask.base={base}",
        "text_mask.lora={rank: 4, alpha: 8}",
        "data.sources.far={dataset: muse_train, task: gres, form: reason.multi, ratio: 3}",
    )
    run = estimate(config, processes=2)
    model = build_text_mask(config).model
    assert sum(part.values for part in run.parts) == sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(part.trained for part in run.parts) == trained
    assert (run.gradients, run.optimizer, run.checkpoint) == (4 * trained, 8 * trained, 12 * trained)
    near, far = run.sources
    assert near.records == 40 and near.tokens > 36
    assert (far.records, far.tokens, far.share) == (None, None, 0.75)
    text = format_estimate(run)
    assert "muse_train cannot be opened here" in text and "rule of thumb" in text


def test_legs_before_the_answers_learn_less_and_read_less(tmp_path: Path):
    names = "data.sources.refer={dataset: scenes/train, options: {role: referring, num: 40}, task: gres, batch_size: 2}"
    first = ("text_mask.prompt_order=text_first", names)
    answers = estimate(run_config(tmp_path, *first))
    asked = estimate(run_config(tmp_path, *first, "text_mask.learns=asked"))
    cells = estimate(run_config(tmp_path, *first, "text_mask.learns=cells"))
    assert cells.sources[0].tokens < asked.sources[0].tokens < answers.sources[0].tokens
    trained = [{part.name: part.trained for part in run.parts} for run in (cells, asked, answers)]
    assert trained[0]["vision"] == trained[1]["vision"] == trained[2]["vision"]
    assert trained[0]["language"] < trained[1]["language"] < trained[2]["language"]


def test_a_base_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ValueError, match="nowhere"):
        estimate(run_config(tmp_path, "text_mask.base=nowhere"))
    with pytest.raises(ValueError, match="nowhere"):
        estimate(load_config(None, ["system=qwen3vl_seg", "box_mask.base=nowhere"]))


@pytest.mark.parametrize("stage", ["frozen", "adapters", "whole"])
def test_a_model_that_writes_boxes(tmp_path: Path, stage: str):
    base = save_tiny_base(tmp_path / "base")
    overrides = {
        "frozen": ["box_mask.frozen_base=true"],
        "adapters": ["box_mask.lora={rank: 4, alpha: 8}", "box_mask.vision_lr_scale=0.01"],
        "whole": [],
    }[stage]
    source = "data.sources.names={dataset: scenes/train, options: {role: referring, num: 16}, task: instance}"
    config = load_config(None, ["system=qwen3vl_seg", f"box_mask.base={base}", source, *overrides])
    run = estimate(config)
    system = build_box_mask(config)
    set_trained(system.model, config)
    parameters = list(system.model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert sum(part.values for part in run.parts) == sum(p.numel() for p in parameters)
    assert sum(part.trained for part in run.parts) == trained
    # With averaged weights and two moments.
    assert run.checkpoint == 4 * trained * (3 + bool(config.optim.ema_decay))
    decoder = {part.name: part.values for part in run.parts}["mask decoder"]
    assert decoder == sum(p.numel() for p in system.model.mask_decoder.parameters())
    small = estimate(load_config(None, ["system=qwen3vl_seg", f"box_mask.base={base}", source, *overrides, SMALLER]))
    assert small.activations < run.activations
