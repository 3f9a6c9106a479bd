"""DeepSpeed: what the launcher asks for, what is refused, and runs of two processes beside those of one."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from engine import zero_toy
from oracles.launching import run_together
from safetensors.torch import load_file

from mvplm.engine import OptimizerSettings, TrainerSettings, join_processes
from mvplm.engine.parallel import launched_plan
from mvplm.engine.zero import Zero

needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="DeepSpeed is not installed (pip install 'mvplm[deepspeed]')"
)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As launched with DeepSpeed, which is taken to be installed."""
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("accelerate.utils.is_deepspeed_available", lambda: True)
    return monkeypatch


def test_the_launcher_gives_the_stage(launched: pytest.MonkeyPatch):
    launched.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    plan = launched_plan()
    assert not plan.sharded and plan.zero["stage"] == 2 and "auto" not in plan.zero.values()


def test_without_deepspeed_a_run_ends_before_it_begins(launched: pytest.MonkeyPatch):
    launched.setattr("accelerate.utils.is_deepspeed_available", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'mvplm\[deepspeed\]'.*fsdp_zero2.yaml"):
        join_processes("cpu")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ZERO_STAGE", "1", "stage 2, got 1"),
        ("ZERO_STAGE", "3", "stage 3 does not go with these networks: fsdp.yaml"),
        ("OFFLOAD_OPTIMIZER_DEVICE", "cpu", "offload_optimizer is not supported; fsdp.yaml"),
        ("OFFLOAD_PARAM_DEVICE", "nvme", "offload_param is not supported"),
    ],
)
def test_what_is_not_supported_is_told(launched: pytest.MonkeyPatch, name: str, value: str, message: str):
    launched.setenv(f"ACCELERATE_DEEPSPEED_{name}", value)
    with pytest.raises(ValueError, match=message):
        launched_plan()


def test_a_file_of_deepspeed_must_leave_to_the_run_what_it_decides(launched: pytest.MonkeyPatch, tmp_path: Path):
    file = tmp_path / "zero.json"
    file.write_text('{"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}, "bf16": {"enabled": true}}')
    launched.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", str(file))
    launched.setenv("ACCELERATE_CONFIG_DS_FIELDS", "deepspeed_config_file")
    with pytest.raises(ValueError, match="remove bf16 from the DeepSpeed file"):
        launched_plan()
    file.write_text('{"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto", "overlap_comm": true}}')
    zero = launched_plan().zero
    assert zero["stage"] == 2 and zero["overlap_comm"] and "reduce_bucket_size" not in zero


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"precision": "fp16"}, "use bf16"), ({"compile": True}, "train.compile does not go with DeepSpeed")],
)
def test_settings_that_do_not_go_with_it(settings: dict, message: str):
    zero = Zero(torch.device("cpu"), 2, section={"stage": 2})
    zero.check(TrainerSettings(steps=1, precision="bf16"), OptimizerSettings())
    with pytest.raises(ValueError, match=message):
        zero.check(TrainerSettings(steps=1, **settings), OptimizerSettings())


def largest_difference(one: Path, other: Path) -> float:
    """Between all numbers of two checkpoints after 12 steps."""
    largest = 0.0
    for name in ("model", "optimizer", "ema"):
        first, second = (load_file(path / "step_000012" / f"{name}.safetensors") for path in (one, other))
        assert first.keys() == second.keys() and len(first) >= 10
        largest = max(largest, *(float((value - second[key]).abs().max()) for key, value in first.items()))
    return largest


@needs_deepspeed
def test_two_processes_train_and_go_on_as_one_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = Path(zero_toy.__file__)
    assert zero_toy.run(tmp_path / "one") == 1
    zero_toy.run(tmp_path / "one_then_two", stop_at=6)
    with monkeypatch.context() as patch:
        patch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
        patch.setenv("DS_ACCELERATOR", "cpu")
        tasks = (("two", 0), ("one_then_two", 0), ("half", 6))
        run_together(script, *(f"{tmp_path / name}:{stop_at}" for name, stop_at in tasks))
        shutil.copytree(tmp_path / "half", tmp_path / "two_then_one")
        run_together(script, f"{tmp_path / 'half'}:0")
    zero_toy.run(tmp_path / "two_then_one")
    for name in ("two", "half", "one_then_two", "two_then_one"):
        assert largest_difference(tmp_path / "one", tmp_path / name) < 1e-5, name
