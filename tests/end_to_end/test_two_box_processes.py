"""Two processes of which one has no mask to learn take a step and end with the same weights."""

import json
from pathlib import Path

from oracles.launching import run_together

SCRIPT = Path(__file__).with_name("two_box_processes.py")


def test_a_process_without_masks_keeps_step_with_the_other(tmp_path: Path):
    run_together(SCRIPT, str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert sum(found["masks"]) > 0 and not any(found["masks_of_the_other"])
    assert found["weights"] == 0 and found["decoder"] > 0
