"""The launcher's configuration files: accelerate reads them, and training sees what they say."""

from pathlib import Path

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))


def parsed(path: Path):
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    assert load_config_from_file(str(path)).compute_environment == "LOCAL_MACHINE"
    order = launch_command_parser().parse_args(["--config_file", str(path), "train.py", "--config-file", "F"])
    return _validate_launch_command(order)[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerate_reads_it_and_it_names_itself(path: Path):
    order = parsed(path)
    assert order.mixed_precision == "no", "precision is train.precision of the run"
    assert order.num_processes == yaml.safe_load(path.read_text())["num_processes"] > 1
    assert f"configs/accelerate/{path.name} tools/train_net.py" in path.read_text()


def test_each_file_asks_for_its_kind():
    orders = {path.stem: parsed(path) for path in FILES}
    assert set(orders) >= {"cpu", "ddp", "fsdp"}
    assert orders["ddp"].multi_gpu and not orders["ddp"].use_fsdp and orders["cpu"].use_cpu
    assert orders["deepspeed_zero2"].use_deepspeed
    assert orders["fsdp"].use_fsdp and str(orders["fsdp"].fsdp_version) == "2"


@pytest.mark.parametrize(("name", "reshard"), [("fsdp", True), ("fsdp_zero2", False)])
def test_training_sees_what_the_launcher_was_told(monkeypatch: pytest.MonkeyPatch, name: str, reshard: bool):
    from accelerate.utils.launch import prepare_multi_gpu_env

    from mvplm.engine.parallel import LaunchedPlan, launched_plan

    environment = prepare_multi_gpu_env(parsed(FOLDER / f"{name}.yaml"))
    for key, value in environment.items():
        if key.startswith(("ACCELERATE", "FSDP")):
            monkeypatch.setenv(key, str(value))
    assert launched_plan() == LaunchedPlan(True, reshard=reshard, offload=False)


def test_training_sees_the_stage_of_deepspeed(monkeypatch: pytest.MonkeyPatch):
    from accelerate.utils.launch import prepare_deepspeed_cmd_env

    from mvplm.engine.parallel import launched_plan

    monkeypatch.setattr("accelerate.utils.is_deepspeed_available", lambda: True)
    path = FOLDER / "deepspeed_zero2.yaml"
    order = parsed(path)
    order.deepspeed_fields_from_accelerate_config = ",".join(yaml.safe_load(path.read_text())["deepspeed_config"])
    for key, value in prepare_deepspeed_cmd_env(order)[1].items():
        if key.startswith("ACCELERATE"):
            monkeypatch.setenv(key, str(value))
    assert launched_plan().zero["stage"] == 2
