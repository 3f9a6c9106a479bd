"""Several processes: the same weights as one, checkpoints that fit any number of them, and ends instead of hangs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine.plain_toy import run
from oracles.launching import TIMEOUT, environment, run_together
from safetensors.torch import load_file

from mvplm.engine import CheckpointStore
from mvplm.engine.parallel import blocks, launched_plan

SLOW = pytest.mark.skipif(
    os.environ.get("MVPLM_SLOW_TESTS") != "1",
    reason="two processes for a quarter of a minute or more; MVPLM_SLOW_TESTS=1 runs it",
)
SCRIPT = Path(__file__).with_name("plain_toy.py")


def end(directory: Path) -> dict[str, torch.Tensor]:
    """Everything in the last checkpoint."""
    path = directory / "step_000012"
    return {
        f"{name}/{key}": value
        for name in ("model", "optimizer", "ema")
        for key, value in load_file(path / f"{name}.safetensors").items()
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = end(one), end(other)
    assert first.keys() == second.keys() and len(first) > 20
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-4, atol=1e-6, msg=key)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of 12 steps: ``one`` by a process alone, ``two`` by two, ``sharded`` by two with shares of the weights;
    halves of them, and what went on from a half of one.

    One start for all of them: what processes import takes them longer than their runs.
    """
    folder = tmp_path_factory.mktemp("processes")
    run(folder / "one")
    run(folder / "half", stop_at=6)
    for name in ("one_then_two", "one_then_sharded"):
        shutil.copytree(folder / "half", folder / name)
    together = [
        f"{folder / f'{start}{name}'}:{stop_at}:{sharded}"
        for name, sharded in (("two", "false"), ("sharded", "true"))
        for start, name, stop_at in (("", name, 0), ("", f"{name}_half", 6), ("one_then_", name, 0))
    ]
    run_together(SCRIPT, *together)
    return folder


def test_two_processes_train_the_same_weights_as_one(runs: Path):
    assert_same(runs / "one", runs / "two")


def test_one_process_goes_on_where_two_stopped(runs: Path):
    assert CheckpointStore(runs / "two_half").steps() == [5, 6]
    run(runs / "two_half")
    assert_same(runs / "one", runs / "two_half")


def test_two_processes_go_on_where_one_stopped(runs: Path):
    assert_same(runs / "one", runs / "one_then_two")


def test_sharded_weights_train_like_whole_ones(runs: Path):
    assert_same(runs / "one", runs / "sharded")


def test_checkpoints_of_sharded_weights_fit_any_number_of_processes(runs: Path):
    assert_same(runs / "one", runs / "one_then_sharded")
    run(runs / "sharded_half")
    assert_same(runs / "one", runs / "sharded_half")


@SLOW
def test_a_dead_process_ends_the_job_with_its_traceback_and_an_elastic_job_goes_on(tmp_path: Path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command += [str(SCRIPT.with_name("dying.py")), str(tmp_path)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode not in (0, 124)
    assert "RuntimeError: the second process broke at step 7, started at 0" in done.stderr, done.stderr
    assert "RuntimeError: the second process broke at step 9, started at 5" in done.stderr, done.stderr
    assert "Traceback" in done.stderr and 'dying.py", line' in done.stderr
    assert CheckpointStore(tmp_path).steps() == [5]


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("tool", "done"),
        pytest.param("mvplm", "SIGTERM", marks=SLOW),
        pytest.param("tool", "SIGINT", marks=SLOW),
        pytest.param("mvplm", "error", marks=SLOW),
    ],
)
def test_a_command_leaves_the_other_processes_unless_it_broke(tmp_path: Path, command: str, end: str):
    config_file = tmp_path / "run.yaml"
    config_file.write_text(f"train: {{output: {tmp_path}}}")
    run_together(SCRIPT.with_name("leaving.py"), command, str(config_file), end)


def test_what_is_gathered_on_its_own():
    lists = torch.nn.ModuleList([torch.nn.Linear(10, 10), torch.nn.Sequential(torch.nn.Linear(2, 2))])
    model = torch.nn.ModuleDict({"plain": torch.nn.Linear(20, 20), "lists": torch.nn.Sequential(lists)})
    assert blocks(model, least_values=100) == [lists[0]]
    assert blocks(model, least_values=1) == list(lists) and blocks(model) == []


def test_the_launcher_decides(monkeypatch: pytest.MonkeyPatch):
    assert not launched_plan().sharded
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    with pytest.raises(ValueError, match="fsdp_version: 2"):
        launched_plan()
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "false")
    monkeypatch.setenv("FSDP_OFFLOAD_PARAMS", "true")
    plan = launched_plan()
    assert (plan.sharded, plan.reshard, plan.offload) == (True, False, True)
    monkeypatch.setenv("ACCELERATE_USE_MEGATRON_LM", "true")
    with pytest.raises(ValueError, match="Megatron-LM is not supported; fsdp.yaml"):
        launched_plan()
