import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "train_net.py"


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("train_net", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list:
    seen: list = []
    ended = SimpleNamespace(interrupted=None)
    monkeypatch.setattr("mvplm.runs.run_training", lambda config, resume: seen.append((config, resume)) or ended)
    monkeypatch.setattr("mvplm.runs.run_evaluation", lambda config, **rest: seen.append((config, rest)))
    return seen


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    (tmp_path / "a.yaml").write_text("train: {steps: 7, output: here}")
    return str(tmp_path / "a.yaml")


@pytest.mark.parametrize("gpus", ["0", "1"])
def test_one_process_trains_here(tool, calls: list, config_file: str, gpus: str):
    assert tool.main(["--config-file", config_file, "--num-gpus", gpus, "--resume", "train.seed=3"]) == 0
    config, resume = calls[0]
    assert (config.train.steps, config.train.seed, resume) == (7, 3, True)


def test_eval_only(tool, calls: list, config_file: str):
    assert tool.main(["--config-file", config_file, "--eval-only", "--weights", "w"]) == 0
    assert calls[0][1] == {"weights": "w", "out": Path("here/evaluation")}


def test_a_wrong_config_is_one_message(tool, capsys: pytest.CaptureFixture[str], config_file: str):
    assert tool.main(["--config-file", config_file, "train.stepps=3"]) == 2
    assert "did you mean 'steps'" in capsys.readouterr().err


def test_several_gpus_go_through_the_launcher(tool, calls: list, config_file: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    launched = []
    monkeypatch.setattr("accelerate.commands.launch.launch_command", launched.append)
    given = ["--config-file", config_file, "--num-gpus", "4", "--num-machines", "2", "--machine-rank", "1"]
    given += ["--dist-url", "tcp://10.0.0.1:2345", "train.seed=3"]
    assert tool.main(given) == 0
    (order,) = launched
    assert (order.num_processes, order.num_machines, order.machine_rank, order.multi_gpu) == (8, 2, 1, True)
    assert (order.main_process_ip, order.main_process_port) == ("10.0.0.1", 2345)
    assert (order.training_script, order.training_script_args) == (str(FILE), given)
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert tool.main(given) == 0
    assert calls[0][0].train.seed == 3


@pytest.mark.parametrize(
    ("extra", "part"),
    [
        (["--num-machines", "2"], "several machines need --dist-url"),
        (["--num-machines", "2", "--machine-rank", "2"], "must lie in 0..1"),
        (["--num-gpus", "2", "--dist-url", "host"], "tcp://HOST:PORT"),
    ],
)
def test_wrong_launch_orders_are_told(tool, config_file: str, extra: list[str], part: str, capsys, monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert tool.main(["--config-file", config_file, *extra]) == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(("signal", "code"), [("SIGINT", 130), ("SIGTERM", 0), (None, 0)])
def test_a_saved_end_has_the_code_that_schedulers_expect(
    tool, config_file: str, signal: str | None, code: int, monkeypatch: pytest.MonkeyPatch
):
    from mvplm.cli import main

    ended = SimpleNamespace(interrupted=signal, step=3, seconds=1.0)
    monkeypatch.setattr("mvplm.runs.run_training", lambda config, resume: ended)
    assert tool.main(["--config-file", config_file]) == code
    assert main(["train", "--config-file", config_file]) == code
