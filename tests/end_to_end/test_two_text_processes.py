"""Models that write masks learn in two processes what they learn in one, and runs of two go on to the bit."""

import json
import os
from pathlib import Path

import pytest
import torch
from oracles.launching import run_together
from oracles.text_mask_runs import save_base
from safetensors.torch import load_file

pytestmark = pytest.mark.skipif(
    os.environ.get("MVPLM_SLOW_TESTS") != "1", reason="two processes for a minute; set MVPLM_SLOW_TESTS=1 to run it"
)
SCRIPT = Path(__file__).with_name("two_text_processes.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    base = save_base(folder / "base")
    run_together(SCRIPT, str(folder / "found.json"), str(folder), str(base))
    return folder


def test_a_split_batch_has_the_loss_and_gradients_of_the_whole(place: Path):
    found = json.loads((place / "found.json").read_text())
    assert found["together"] == pytest.approx(found["alone"], abs=1e-5)
    assert found["difference"] < 1e-5 * max(1, found["size"])
    assert found["size"] > 1e-3
    assert "grec/N-acc" in found["metrics"]


def test_a_resumed_run_of_two_processes_ends_with_the_same_bits(place: Path):
    one, two = (
        load_file(place / name / "checkpoints" / "step_000004" / "model.safetensors") for name in ("whole", "broken")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
