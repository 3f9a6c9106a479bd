"""Killing a run and resuming it must not change one bit of what it computes."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine.run_toy import run
from safetensors.torch import load_file

from mvplm.engine import CheckpointStore, read_metrics

SCRIPT = Path(__file__).with_name("run_toy.py")


def totals(directory: Path) -> dict[int, float]:
    """Loss of every step, each told exactly once."""
    found: dict[int, float] = {}
    for line in read_metrics(directory / "metrics.jsonl"):
        for step, value in enumerate(line["totals"], start=line["first_step"]):
            assert step not in found
            found[step] = value
    return found


def subprocess_run(directory: Path, *, die_at: int, number: int) -> subprocess.CompletedProcess:
    threads = str(torch.get_num_threads())  # the same bits need the same threads
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(SCRIPT), str(directory), str(die_at), str(number)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)


def same_end(first: Path, second: Path) -> None:
    assert totals(first) == totals(second) and sorted(totals(first)) == list(range(1, 25))
    for name in ("model", "ema", "optimizer"):
        one, two = (load_file(d / "checkpoints" / "step_000024" / f"{name}.safetensors") for d in (first, second))
        assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("uninterrupted")
    run(directory)
    return directory


def test_kill_at_a_random_step_and_resume_is_bit_identical(uninterrupted, tmp_path):
    die_at = random.SystemRandom().randint(6, 23)
    process = subprocess_run(tmp_path, die_at=die_at, number=signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert CheckpointStore(tmp_path / "checkpoints").steps()[-1] == (die_at - 1) // 5 * 5
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # a line cut off by the kill
    torch.rand(7)
    run(tmp_path)
    same_end(uninterrupted, tmp_path)


def test_a_signal_saves_says_how_to_resume_and_resumes_bit_identically(uninterrupted, tmp_path, caplog):
    summary = run(tmp_path, die_at=8, number=signal.SIGTERM)
    assert (summary.step, summary.interrupted) == (8, "SIGTERM")
    assert "SIGTERM after step 8 of 24" in caplog.text and "--resume" in caplog.text
    assert CheckpointStore(tmp_path / "checkpoints").steps() == [5, 8]
    run(tmp_path)
    same_end(uninterrupted, tmp_path)


def test_the_run_learns_and_uses_the_seed(uninterrupted):
    values = totals(uninterrupted)
    assert len(set(values.values())) == 24
    assert sum(values[s] for s in range(19, 25)) < sum(values[s] for s in range(1, 7))


def test_lines_after_the_checkpoint_are_dropped_at_resume(tmp_path):
    run(tmp_path, die_at=8, number=signal.SIGTERM)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [4, 5, 8]
    (tmp_path / "checkpoints" / "step_000008" / "trainer_state.json").unlink()
    run(tmp_path, die_at=6, number=signal.SIGTERM)
    resumed = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert resumed[:2] == lines[:2]
    assert [json.loads(line)["step"] for line in resumed] == [4, 5, 6]
