"""``mvplm textmask``: tables, files and pictures about masks as text."""

import json

import numpy as np
import pytest
from PIL import Image

from mvplm.cli import main

SCENES = ["--dataset", "scenes/val", "-o", "num=3"]


def test_ceiling_prints_a_table_and_writes_files(tmp_path, capsys):
    assert main(["textmask", "ceiling", *SCENES, "--profiles", "isd16,crop32", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "Cheapest within 1 point" in told.out and "crop32" in told.out
    content = json.loads((tmp_path / "ceiling.json").read_text())
    assert content["unit"] == "runs and row breaks"
    rows = {(row["profile"], row["size"]): row for row in content["rows"]}
    assert rows["isd16", "all"]["count"] == rows["crop32", "all"]["count"] > 3
    assert rows["isd16", "all"]["mean_iou"] < rows["crop32", "all"]["mean_iou"] <= 1
    with Image.open(tmp_path / "ceiling.png") as picture:
        assert picture.width > 300


def test_ceiling_stopped_tells_what_it_has_and_writes_nothing(tmp_path, capsys, monkeypatch):
    from mvplm.textmask.ceiling import Ceiling

    whole, calls = Ceiling.update, []

    def update(self, masks, labels, *, dataset):
        calls.append(dataset)
        if len(calls) > 12:
            raise KeyboardInterrupt
        whole(self, masks, labels, dataset=dataset)

    monkeypatch.setattr(Ceiling, "update", update)
    arguments = ["textmask", "ceiling", "--dataset", "scenes/val", "-o", "num=40", "--profiles", "isd4"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 130
    told = capsys.readouterr()
    assert "isd4" in told.out and "Stopped by Ctrl-C" in told.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profiles", "crops64"], "did you mean"),
        (["--tokenizer", "gone"], "no tokenizer folder gone"),
        (["-o", "role=detection"], "no object with a mask"),
    ],
)
def test_wrong_input_is_one_message(arguments, message, capsys):
    assert main(["textmask", "ceiling", *SCENES, *arguments]) == 2
    assert message in capsys.readouterr().err


def test_show_prints_and_draws_records(tmp_path, capsys):
    out = tmp_path / "shown.png"
    assert main(["textmask", "show", "scenes/val", "num=2", "--number", "2", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.count("<ref>") >= 2 and told.count("IoU") == 2
    with Image.open(out) as picture:
        assert picture.width > 1000


def test_show_takes_a_picture_of_a_mask(tmp_path, capsys):
    mask = np.zeros((16, 16), np.uint8)
    mask[4:8, 4:12] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    arguments = ["textmask", "show", str(tmp_path / "mask.png"), "--profile", "crop16", "--label", "bar"]
    assert main([*arguments, "--out", str(tmp_path / "shown.png")]) == 0
    told = capsys.readouterr().out
    assert "bar: crop16, 7 runs and row breaks, IoU 100.0 %" in told and "<fg8>\n<fg8>" in told


def test_show_wants_something_to_show(tmp_path, capsys):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    assert main(["textmask", "show", str(tmp_path / "black.png")]) == 2
    assert "is black" in capsys.readouterr().err
    assert main(["textmask", "show", "scenes/val", "num=2", "--start", "5"]) == 2
    assert "start must be in 0..1" in capsys.readouterr().err
