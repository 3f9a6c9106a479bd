"""A run that is killed without warning and resumed computes the same bits as one that was left alone."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from oracles.tiny import tiny_yaml
from PIL import Image
from safetensors.torch import load_file

from mvplm.cli import main
from mvplm.config import load_config
from mvplm.engine import read_metrics
from mvplm.runs import load_for_evaluation

STEPS, EVERY = 9, 4
CLOCKS = ("steps_per_second", "data_wait")
SCRIPT = Path(__file__).with_name("run_and_die.py")


def source(role: str, task: str, *, ratio: int = 1) -> dict:
    options = {"role": role, "num": 12, "seed": 1, "size": 96}
    return {"dataset": "scenes/train", "options": options, "task": task, "ratio": ratio, "batch_size": 2}


def config_file(folder: Path) -> Path:
    sources = {
        "panoptic": source("panoptic", "panoptic", ratio=2),
        "referring": source("referring", "gres", ratio=2),
        "grounding": source("grounding", "grounding"),
        "pictures": source("caption", "caption"),
    }
    train = {"steps": STEPS, "checkpoint_every": EVERY, "log_every": 1, "seed": 3, "output": str(folder / "killed")}
    settings = {
        "data": {"sources": sources},
        "train": train,
        "optim": {"lr": 1e-3, "ema_decay": 0.9},
        "response": {"caption_dropout": 0.3},
        "names": {"phrase_negatives": [0, 4]},
    }
    return tiny_yaml(folder, settings)


def losses(run: Path) -> list[dict]:
    """Lines of the log without what a clock says."""
    return [{k: v for k, v in line.items() if k not in CLOCKS} for line in read_metrics(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the directories ``whole`` and ``killed``; the second is killed at a random step and resumed."""
    folder = tmp_path_factory.mktemp("runs")
    path, die_at = config_file(folder), random.SystemRandom().randint(EVERY + 1, STEPS - 1)
    threads = str(torch.get_num_threads())  # the same bits need the same threads
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(SCRIPT), str(path), str(folder / "whole"), str(folder / "killed"), str(die_at)]
    process = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert [line["step"] for line in losses(folder / "killed")] == list(range(1, die_at + 1))
    assert not (folder / "killed" / "curves.png").exists()
    torch.rand(3)
    assert main(["train", "--config-file", str(path), "--resume"]) == 0
    return folder


def test_the_loss_log_is_the_same_to_the_last_bit(runs: Path):
    whole, resumed = losses(runs / "whole"), losses(runs / "killed")
    assert [line["step"] for line in whole] == list(range(1, STEPS + 1))
    assert resumed == whole
    assert len({line["loss"] for line in whole}) == STEPS


def test_the_weights_are_the_same_to_the_last_bit(runs: Path):
    for name in ("model", "ema", "optimizer"):
        file = Path("checkpoints") / f"step_{STEPS:06d}" / f"{name}.safetensors"
        one, two = load_file(runs / "whole" / file), load_file(runs / "killed" / file)
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_a_run_is_evaluated_with_its_averaged_weights(runs: Path):
    config = load_config(runs / "run.yaml")
    newest = load_for_evaluation(config, runs / "whole")
    average = load_file(runs / "whole" / "checkpoints" / "step_000009" / "ema.safetensors")
    state = newest.model.state_dict()
    assert average and all(torch.equal(state[name], value) for name, value in average.items())
    raw = load_file(runs / "whole" / "checkpoints" / "step_000009" / "model.safetensors")
    assert any(not torch.equal(state[name], raw[name]) for name in average)
    older = load_for_evaluation(config, runs / "whole" / "checkpoints" / "step_000008").model.state_dict()
    assert any(not torch.equal(state[name], older[name]) for name in average)


def test_a_run_leaves_everything_a_person_looks_for(runs: Path):
    for run in (runs / "whole", runs / "killed"):
        names = {path.name for path in run.iterdir()}
        assert names >= {"config.yaml", "metrics.jsonl", "curves.png", "checkpoints", "tensorboard"}
        with Image.open(run / "curves.png") as curves:
            assert min(curves.size) > 300
        assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step_000008", "step_000009"]
        for checkpoint in (run / "checkpoints").iterdir():
            assert (checkpoint / "config.yaml").is_file() and (checkpoint / "tokenizer" / "tokenizer.json").is_file()


def test_a_finished_run_is_neither_overwritten_nor_mixed_with_another(runs: Path, capsys: pytest.CaptureFixture[str]):
    before = losses(runs / "whole")
    path, output = str(runs / "run.yaml"), f"train.output={runs / 'whole'}"
    assert main(["train", "--config-file", path, output]) == 2
    assert "already holds step_000009" in " ".join(capsys.readouterr().err.split())
    assert losses(runs / "whole") == before
    assert main(["train", "--config-file", path, "--resume", f"train.output={runs / 'empty'}"]) == 2
    assert "no complete checkpoint" in " ".join(capsys.readouterr().err.split())
