"""Two processes with half of a batch each compute what one process computes with all of it."""

import json
from pathlib import Path

import pytest
from oracles.launching import run_together

SCRIPT = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("two") / "found.json"
    run_together(SCRIPT, str(path))
    return json.loads(path.read_text())


# Golden G37.
@pytest.mark.parametrize("source", ["panoptic", "referring", "detection", "caption"])
def test_loss_and_gradients_of_a_split_batch_equal_those_of_the_whole(found: dict, source: str):
    values = found["training"][source]
    assert values["together"] == pytest.approx(values["alone"], abs=1e-5, rel=1e-6)
    assert values["gradient"] < 1e-5 * max(1, values["size"])
    assert values["size"] > 1e-3
    halves = sum(values["objects"][:4]), sum(values["objects"][4:])
    assert source == "caption" or halves[0] != halves[1], "the halves must differ for this to show anything"


def test_records_of_an_uneven_evaluation_count_once(found: dict):
    assert found["metrics"].keys() == found["shared_metrics"].keys()
    assert found["shared_metrics"] == pytest.approx(found["metrics"], abs=1e-6)
    assert any(value > 0 for value in found["metrics"].values())
