"""``mvplm label``, ``mvplm label refine`` and ``mvplm data make-refs`` from the command line."""

import json
from pathlib import Path

import pytest

from mvplm.cli import main

MODULE = """
def near(images):
    return [f"A picture with {image.width} columns lies here on the wide table." for image in images]

def several(images, sample):
    return [f"Caption number {sample} tells of a picture with {image.width} columns." for image in images]

def short(images):
    return ["A dog." for _ in images]

def broken(images):
    raise RuntimeError("no answer")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a module of captioners, whose name no other test uses."""
    (tmp_path / "captioners_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def label(*rest: str) -> int:
    return main(["label", "--dataset", "scenes/val", "-o", "num=3", "-o", "size=96", "--out", "out", *rest])


def test_label_refine_and_show(here: Path, capsys: pytest.CaptureFixture[str]):
    both = ["--captioner", "a=captioners_here:near", "--captioner", "captioners_here:short"]
    assert label(*both, "--set", "batch_size=2") == 0
    told = capsys.readouterr().err
    assert "captioners_here:short: 3/3" in told and "6 of 6 captions in out (6 new)" in told
    assert label(*both) == 0 and "(0 new)" in capsys.readouterr().err
    (here / "thresholds.yaml").write_text("min_words: 7\n")
    assert main(["label", "refine", "out", "--config-file", "thresholds.yaml"]) == 0
    shown = capsys.readouterr()
    assert "3 of 6 captions kept" in shown.err and "length     3" in shown.out
    assert json.loads((here / "out" / "refine.json").read_text())["settings"]["min_words"] == 7
    assert main(["data", "show", "scenes/val", "num=1", "size=96", "captions_dir=out"]) == 0
    assert "96 columns" in " ".join(capsys.readouterr().out.replace("│", "").split())


def test_several_captions_of_each_picture_reach_training(here: Path, capsys: pytest.CaptureFixture[str]):
    from mvplm.data.catalog import get_dataset

    both = ["--captioner", "a=captioners_here:several", "--captioner", "b=captioners_here:near"]
    assert label(*both) == 0 and label(*both, "--set", "samples=3") == 0
    assert "18 of 18 captions in out (12 new)" in capsys.readouterr().err
    assert main(["label", "refine", "out"]) == 0
    assert json.loads((here / "out" / "refine.json").read_text())["rejected"]["duplicate"] == 6
    captions = get_dataset("scenes/val", num=3, size=96, captions_dir="out")[0].captions
    assert len(captions) == 4 and sum(text.startswith("Caption number") for text in captions) == 3


def test_failures_are_listed_and_end_with_1(here: Path, capsys: pytest.CaptureFixture[str]):
    assert label("--captioner", "captioners_here:broken", "--set", "retries=0") == 1
    told = capsys.readouterr().err
    assert "Failed: captioners_here:broken, image 0 (captioner): RuntimeError: no answer" in told
    assert "the same command tries again" in told


def test_wrong_input_ends_with_2(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["label", "--dataset", "scenes/val"]) == 2
    assert "label needs --dataset, --captioner and --out" in capsys.readouterr().err
    assert label("--captioner", "captioners_here:neer") == 2
    assert label("--captioner", "captioners_here:near", "--set", "batchsize=3") == 2
    assert "did you mean 'batch_size'" in capsys.readouterr().err
    assert main(["label", "refine", "nowhere"]) == 2
    assert not (here / "out").exists()
    for given in (["label", "--help"], ["label", "refine", "--help"]):
        assert main(given) == 0 and "Example: mvplm label" in capsys.readouterr().out


def test_make_refs(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["data", "scenes", "--out", "drawn", "--num", "3"]) == 0
    given = [
        "data",
        "make-refs",
        "--dataset",
        "coco_folder",
        "--root",
        "drawn",
        "-o",
        "split=val",
        "-o",
        "role=instance",
    ]
    assert main([*given, "--out", "drawn/made.json", "--set", "per_image=2"]) == 0
    assert "pictures: drawn/made.json" in capsys.readouterr().err
    entries = json.loads((here / "drawn" / "made.json").read_text())
    assert entries and entries[0]["image"].startswith("images/val/")
    assert main(["data", "check", "coco_folder", "--root", "drawn", "split=val", "referring=made.json"]) == 0
