"""Answers broken at random: none raises, no complete object is lost; and the check itself can fail."""

import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest
import torch

from mvplm.models.qwen3vl_seg import parse

TOOLS = Path(__file__).resolve().parents[3] / "tools"


@pytest.fixture(scope="module")
def breaking():
    if str(TOOLS) not in sys.path:
        sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location("benchmark_box_answers", TOOLS / "benchmarks" / "box_answers.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_no_complete_object_is_lost(breaking):
    numbers = random.Random(1)
    answers = [breaking.break_answer(numbers) for _ in range(1500)]
    assert [(answer.text, breaking.lost(answer)) for answer in answers if breaking.lost(answer)] == []
    whole = sum(len(answer.complete) for answer in answers)
    readable = sum(parse.is_list_of_objects(answer.text) for answer in answers)
    assert whole > 1000 and 100 < readable < 1000


def test_a_strict_reader_would_lose_some(breaking, monkeypatch):
    def strict(text: str, size: tuple[int, int]) -> parse.ParsedBoxes:
        try:
            objects = json.loads(text)
        except ValueError:
            objects = []
        boxes = torch.tensor([entry["bbox_2d"] for entry in objects if "bbox_2d" in entry]).view(-1, 4)
        return parse.ParsedBoxes(boxes, [], "ok", [], {})

    monkeypatch.setattr("mvplm.models.qwen3vl_seg.parse.parse_boxes", strict)
    broken = breaking.Broken('[{"bbox_2d": [1, 2, 3, 4]}, {', [[1, 2, 3, 4]], thinks=False)
    assert breaking.lost(broken) == [[1, 2, 3, 4]]
