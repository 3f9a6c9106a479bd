"""Box-only data to masks: a COCO file, made in steps that can be stopped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from oracles.tiny import noise_picture, tiny_perceiver

from mvplm.box_masks import boxes_to_masks
from mvplm.cli import main
from mvplm.perceiver import Perceiver
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import decode_mask

VOCABULARY = Vocabulary(("star", "ring"), (True, True), (7, 3))
POLYGON = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]


def dataset() -> list[Record]:
    annotations = (
        (Annotation((4, 4, 30, 30), 0), Annotation((10, 10, 30, 30), 1, POLYGON)),
        (),
        (Annotation((2, 2, 40, 40), 1), Annotation((90, 90, 95, 95), 0), Annotation((0, 0, 20, 20), 0, iscrowd=True)),
        (Annotation((1, 1, 20, 20), 0), Annotation((5, 5, 33, 44), 1)),
    )
    return [
        Record(10 + i, noise_picture(48, 56, seed=i), (48, 56), vocabulary=VOCABULARY, annotations=rows)
        for i, rows in enumerate(annotations)
    ]


def test_every_box_gets_a_mask_and_what_is_there_stays(tmp_path: Path):
    steps: list[int] = []
    out = tmp_path / "deep" / "masks.json"
    done = boxes_to_masks(tiny_perceiver(), dataset(), out=out, batch_size=3, progress=steps.append)
    assert (done.records, done.made, done.kept, done.skipped) == (4, 4, 1, 1) and steps == [0, 3, 4]
    content = json.loads(out.read_text())
    assert [image["id"] for image in content["images"]] == [10, 11, 12, 13]
    assert content["images"][0] == {"id": 10, "file_name": "10.png", "height": 48, "width": 56}
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(7, "star"), (3, "ring")]
    rows = content["annotations"]
    assert [row["id"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [(row["image_id"], row["category_id"]) for row in rows] == [
        (10, 7),
        (10, 3),
        (12, 3),
        (12, 7),
        (13, 7),
        (13, 3),
    ]
    assert rows[0]["bbox"] == [4, 4, 26, 26] and 0 <= rows[0]["score"] <= 1
    assert all(decode_mask(row["segmentation"], (48, 56)).sum() == row["area"] for row in rows if not row["iscrowd"])
    assert rows[1]["area"] == 400 and "score" not in rows[1]
    assert rows[3]["iscrowd"] == 1 and "segmentation" not in rows[3]
    assert [path.name for path in out.parent.iterdir()] == ["masks.json"]


class Stopped(Exception):
    pass


def test_stopped_work_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole, out = tmp_path / "whole.json", tmp_path / "out.json"
    boxes_to_masks(tiny_perceiver(), dataset(), out=whole, batch_size=1)

    def stop(count: int) -> None:
        if count == 2:
            raise Stopped

    with pytest.raises(Stopped):
        boxes_to_masks(tiny_perceiver(), dataset(), out=out, batch_size=1, progress=stop)
    partial = tmp_path / "out.json.partial"
    assert not out.exists() and len(partial.read_text().splitlines()) == 3
    with partial.open("a") as file:
        file.write('{"index": 2, "half')
    asked = []
    predict = Perceiver.predict
    monkeypatch.setattr(
        Perceiver, "predict", lambda self, images, **k: asked.append(len(images)) or predict(self, images, **k)
    )
    boxes_to_masks(tiny_perceiver(), dataset(), out=out, batch_size=1)
    assert asked == [1, 1] and json.loads(out.read_text()) == json.loads(whole.read_text())
    assert not partial.exists()


def test_other_work_is_not_mixed_in(tmp_path: Path):
    out = tmp_path / "out.json"
    (tmp_path / "out.json.partial").write_text('{"source": "something else"}\n')
    with pytest.raises(ValueError, match="belongs to another data set or model"):
        boxes_to_masks(tiny_perceiver(), dataset(), out=out)
    out.write_text("{}")
    with pytest.raises(ValueError, match="exists already"):
        boxes_to_masks(tiny_perceiver(), dataset(), out=out)


def test_phrases_are_names_too(tmp_path: Path):
    record = replace(dataset()[0], vocabulary=None, annotations=(Annotation((4, 4, 30, 30), phrase="the left ring"),))
    out = tmp_path / "out.json"
    boxes_to_masks(tiny_perceiver(), [record], out=out)
    content = json.loads(out.read_text())
    assert content["categories"] == [{"id": 1, "name": "object"}]
    assert content["annotations"][0]["phrase"] == "the left ring" and content["annotations"][0]["category_id"] == 1


def test_the_command(tmp_path: Path):
    weights = tiny_perceiver().save(tmp_path / "model")
    out = tmp_path / "masks.json"
    given = [
        "data",
        "masks",
        "scenes/val",
        "role=detection",
        "--weights",
        str(weights),
        "--out",
        str(out),
        "--limit",
        "2",
    ]
    assert main(given) == 0
    content = json.loads(out.read_text())
    assert len(content["images"]) == 2 and all("segmentation" in row for row in content["annotations"])
    assert main(given) == 2
