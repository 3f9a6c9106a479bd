"""The benchmark of evaluation: every part is fed and measured, and time is not made up where there are no photos."""

import json
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_memory_is_measured_by_part_and_time_only_with_photos(tool, tmp_path):
    file = tmp_path / "rows.json"
    assert tool.main(["evaluation", "--quick", "--parts", "semantic", "--json", str(file)]) == 0
    memory, share = json.loads(file.read_text())
    assert memory["name"] == "memory: semantic" and 0 <= memory["value"] < 1000
    assert share["value"] is None and share["detail"] == "no --shared"


def test_drawn_answers_are_measured_and_written(tool, tmp_path):
    module = tool.load(TOOLS / "drawn_answers.py")
    with module.DrawnAnswers("all", tmp_path) as drawn:
        for index in range(2):
            drawn.update(index)
    metrics = {name: evaluator.compute() for name, evaluator in drawn._evaluators.items()}
    assert metrics["panoptic"]["panoptic/PQ"] > 20 and metrics["referring"]["rec/Acc@0.5"] < 50
    names = {"detections.json", "expressions.json", "panoptic.json", "semantic.json"}
    assert {path.name for path in tmp_path.rglob("*.json")} == names
    assert len(json.loads((tmp_path / "referring" / "expressions.json").read_text())) == 2 * module.SENTENCES


def test_time_is_a_share_of_inference(tool, shared_data, tmp_path):
    if not (shared_data / "coco_mini").is_dir():
        pytest.skip(f"no photos: {shared_data / 'coco_mini'} is absent")
    file = tmp_path / "rows.json"
    order = ["evaluation", "--quick", "--parts", "", "--shared", str(shared_data), "--json", str(file)]
    assert tool.main(order) == 0
    (share,) = json.loads(file.read_text())
    assert share["unit"] == "%" and share["value"] > 0 and "2 pictures" in share["detail"]


def test_wrong_options_end_with_2(tool, capsys):
    assert tool.main(["evaluation", "--pictures", "3"]) == 2
    assert "--pictures must be above 100" in capsys.readouterr().err
    assert tool.main(["evaluation", "--quick", "--parts", "panoptik"]) == 2
    assert "--parts has 'panoptik'" in capsys.readouterr().err
