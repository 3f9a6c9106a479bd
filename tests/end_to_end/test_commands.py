"""The commands as a person types them, with a saved tiny model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from oracles.tiny import noise_picture
from PIL import Image

from mvplm.cli import main
from mvplm.perceiver import Perceiver
from mvplm.structures.masks import decode_mask

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"size", "task", "query", "caption", "no_target", "presence", "timings"}


@pytest.fixture(scope="module")
def model(perceiver: Perceiver, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(perceiver.save(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "a photo.jpeg"
    Image.fromarray(noise_picture(53, 77, seed=4)).save(path)
    return path


def predict(model: str, photo: Path, out: Path, *question: str) -> dict:
    assert main(["predict", str(photo), *question, "--model", model, "--device", "cpu", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a photo.json", "a photo.png"]
    with Image.open(out / "a photo.png") as drawn:
        assert (drawn.format, drawn.mode) == ("PNG", "RGB")
        assert drawn.width == 77 * 8 and drawn.height > 53 * 8 and len(np.unique(np.asarray(drawn))) > 50
    return json.loads((out / "a photo.json").read_text(encoding="utf-8"))


def check_instances(entries: list[dict], labels: set[str], *, masks: bool) -> None:
    assert entries
    for entry in entries:
        assert set(entry) == {"label", "class_index", "score", "box"} | ({"segmentation"} if masks else set())
        x1, y1, x2, y2 = entry["box"]
        assert 0 <= x1 <= x2 <= 77 and 0 <= y1 <= y2 <= 53
        assert 0 <= entry["score"] <= 1 and entry["label"] in labels
        if masks:
            assert entry["segmentation"]["size"] == [53, 77] and isinstance(entry["segmentation"]["counts"], str)
            assert decode_mask(entry["segmentation"]).shape == (53, 77)
    assert any(entry["box"][2] > 1.5 for entry in entries)  # pixels, not fractions


@pytest.mark.parametrize("task", [None, "detection"])
def test_predict_names(model: str, photo: Path, tmp_path: Path, task: str | None):
    question = ["--classes", "star, a ring 🐈", *(["--task", task] if task else [])]
    written = predict(model, photo, tmp_path / "new", *question)
    assert set(written) == KEYS | {"instances"}
    assert (written["size"], written["task"]) == ([53, 77], task or "instance")
    assert written["query"] == ["star", "a ring 🐈"] and not written["no_target"]
    check_instances(written["instances"], {"star", "a ring 🐈"}, masks=task is None)


def test_predict_maps(model: str, photo: Path, tmp_path: Path):
    written = predict(model, photo, tmp_path / "s", "--classes", "star,sky", "--task", "semantic", "--stuff", "sky")
    assert set(written) == KEYS | {"semantic"}
    masks = [decode_mask(entry["segmentation"], (53, 77)) for entry in written["semantic"]]
    assert (np.sum(masks, axis=0) == 1).all()
    assert all(written["query"][entry["class_index"]] == entry["label"] for entry in written["semantic"])
    written = predict(model, photo, tmp_path / "p", "--classes", "star,sky", "--task", "panoptic")
    assert set(written) == KEYS | {"segments"}
    for segment in written["segments"]:
        assert set(segment) == {"id", "label", "class_index", "isthing", "score", "area", "segmentation"}
        assert decode_mask(segment["segmentation"], (53, 77)).sum() == segment["area"]


def test_predict_a_sentence_that_fits_nothing(model: str, photo: Path, tmp_path: Path, capsys):
    written = predict(model, photo, tmp_path / "t", "--text", "the star, left of <PER>")
    assert (written["task"], written["query"]) == ("referring", ["the star, left of <PER>"])
    assert written["no_target"] is True and written["instances"] == [] and 0 <= written["presence"] <= 1
    assert isinstance(written["caption"], str)
    assert "nothing fits" in capsys.readouterr().err


def test_an_unknown_model_is_one_message(photo: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["predict", str(photo), "--text", "it", "--model", "mvplm-tini"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "no model 'mvplm-tini'" in told and "Traceback" not in told


def test_a_question_without_names_is_one_message(
    model: str, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["predict", str(photo), "--classes", " , ", "--model", model, "--out", str(tmp_path)]) == 2
    assert "classes is empty" in capsys.readouterr().err


def test_train_net_explains_itself_without_loading_torch(tmp_path: Path):
    command = [sys.executable, "-X", "importtime", str(ROOT / "tools" / "train_net.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert all(word in process.stdout for word in ("--config-file", "--num-gpus", "--resume", "--eval-only"))
    assert "torch" not in process.stderr
