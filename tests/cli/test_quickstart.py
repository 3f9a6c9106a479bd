from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mvplm.cli import main
from mvplm.cli.quickstart import questions
from mvplm.structures import Instances, Perception


def test_the_tour_asks_every_kind_of_question():
    asked = list(questions(7))
    assert len({question.title for question in asked}) == len(asked) >= 6
    assert {question.task for question in asked} == {"panoptic", "instance", "detection", None}
    sentences = {question.title: question for question in asked if question.expression}
    assert not _targets(sentences["A sentence that fits nothing"])
    assert len(_targets(sentences["A sentence with several targets"])) > 1
    assert sum(question.boxes_only for question in asked) == 1


def _targets(question) -> tuple[int, ...]:
    return next(e.targets for e in question.record.expressions if e.text == question.expression)


def test_other_seeds_show_other_pictures():
    first, second = next(questions(1)).record, next(questions(2)).record
    assert not (first.image == second.image).all()


def test_pictures_and_a_report_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def predict(image, **question) -> Perception:
        empty = torch.zeros(0)
        instances = Instances(torch.zeros(0, 4), empty, [], empty.long())
        answer = Perception(image.shape[:2], question.get("task") or "referring", ["x"], instances=instances)
        answer._image = image
        return answer

    monkeypatch.setattr("mvplm.perceiver.load", lambda name: SimpleNamespace(predict=predict))
    assert main(["quickstart", "--out", str(tmp_path), "--seconds", "0"]) == 0
    assert len(list(tmp_path.glob("*.png"))) >= 6
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 6 and "http" not in page
