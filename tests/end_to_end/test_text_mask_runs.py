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
    plain = {
        name: name.removeprefix("model.base_model.model.").replace(".token_adapter", "").replace(".base_layer", "")
        for name in after
        if "lora" not in name and "trainable_tokens" not in name
    }
    kept = {name: own for name, own in plain.items() if own in before}
    assert len(kept) > 20
    # Spare rows of the table went to the new tokens; what was there stays as it was.
    first_new = min(json.loads((tmp_path / "run" / "model" / "text_mask.json").read_text())["new_tokens"])
    rows = {name: first_new if "embed_tokens" in name else None for name in kept}
    changed = [n for n, own in kept.items() if not torch.equal(after[n][: rows[n]], before[own][: rows[n]])]
    assert changed == []
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
