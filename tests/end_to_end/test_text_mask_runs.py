"""Whole runs of models that write masks: train, resume to the bit, evaluate, predict; the same commands."""

import json
from pathlib import Path

import pytest
import torch
from oracles.text_mask_runs import SETTINGS, run_config, save_base
from safetensors.torch import load_file

from mvplm.cli.app import build_app
from mvplm.engine import Hook, read_metrics
from mvplm.runs import run_evaluation, run_training


class Interrupted(Exception):
    """Raised in the middle of a run."""


class StopAt(Hook):
    """Breaks a run after a step, as a crash would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer) -> None:
        """Break."""
        if trainer.step == self.step:
            raise Interrupted


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("text") / "run"
    run_training(run_config(out))
    return out


def totals(out: Path) -> dict[int, float]:
    found: dict[int, float] = {}
    for line in read_metrics(out / "metrics.jsonl"):
        if "totals" in line:
            found |= dict(enumerate(line["totals"], start=line["first_step"]))
    return found


def test_the_loss_falls(run: Path):
    losses = totals(run)
    assert sorted(losses) == [1, 2, 3, 4, 5, 6]
    assert losses[6] < losses[1]


def test_a_resumed_run_ends_with_the_same_bits(run: Path, tmp_path: Path):
    with pytest.raises(Interrupted):
        run_training(run_config(tmp_path), hooks=(StopAt(5),))
    torch.rand(3)
    run_training(run_config(tmp_path), resume=True)
    assert totals(tmp_path) == totals(run)
    one, two = (load_file(out / "checkpoints" / "step_000006" / "model.safetensors") for out in (run, tmp_path))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_checkpoint_and_the_saved_model_measure_the_same(run: Path, tmp_path: Path):
    config = run_config(run)
    metrics = run_evaluation(config, out=tmp_path / "a", show=False)
    assert {"referring/all/cIoU", "grec/N-acc", "rec/Acc@0.5"} <= set(metrics)
    assert run_evaluation(config, weights=run / "model", out=tmp_path / "b", show=False) == metrics


def test_only_adapters_and_new_rows_learn_on_a_base(tmp_path: Path):
    base = save_base(tmp_path / "base")
    config = run_config(
        tmp_path / "run", f"text_mask.base={base}", "text_mask.lora={rank: 4, alpha: 8}", "train.steps=2"
    )
    before = load_file(base / "model.safetensors")
    run_training(config)
    after = load_file(tmp_path / "run" / "checkpoints" / "step_000002" / "model.safetensors")
    kept = [name for name in after if "base_layer.weight" in name or ("visual" in name and "lora" not in name)]
    assert kept
    for name in kept:
        plain = name.removeprefix("model.base_model.model.").replace(".token_adapter", "").replace(".base_layer", "")
        # Tables grew by the rows of new tokens; what was there stays as it was.
        assert torch.equal(after[name][: len(before[plain])], before[plain]), name
    assert any(value.abs().max() > 0 for name, value in after.items() if "lora_B" in name)
    assert (tmp_path / "run" / "model" / "adapter").is_dir()
    assert run_evaluation(config, weights=tmp_path / "run" / "model", out=tmp_path / "m", show=False)


def test_the_same_commands_predict_and_evaluate(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from omegaconf import OmegaConf
    from PIL import Image
    from typer.testing import CliRunner

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (80, 96), (90, 120, 30)).save("photo.png")
    OmegaConf.save(OmegaConf.from_dotlist(list(SETTINGS)), "run.yaml")
    app, runner = build_app(debug=True), CliRunner()
    asked = ["predict", "photo.png", "--text", "the red star", "--model", str(run / "model"), "--out", "found"]
    assert runner.invoke(app, asked, catch_exceptions=False).exit_code == 0
    answer = json.loads(Path("found/photo.json").read_text())
    assert {"status", "text", "repairs"} <= set(answer["written"])
    measured = ["evaluate", "--config-file", "run.yaml", "--weights", str(run / "model"), "--out", "measured"]
    assert runner.invoke(app, measured, catch_exceptions=False).exit_code == 0
    assert "referring/all/cIoU" in Path("measured/metrics.json").read_text()
