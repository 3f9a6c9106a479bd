"""Predictions in files: the truth fed back scores full marks, a change scores what it costs, errors name the entry."""

import json

import numpy as np
import pytest

from mvplm.cli import main
from mvplm.data.catalog import get_dataset
from mvplm.data.coco_writer import write_coco_folder
from mvplm.data.panoptic_files import PanopticAnswer, PanopticFile, PanopticWriter
from mvplm.evaluation.truth import true_mask, true_panoptic, true_semantic
from mvplm.measuring.scoring import ScoredData, score_predictions
from mvplm.structures.masks import decode_mask, encode_mask

NUM = 3
SCENES = ScoredData("scenes/val", {"num": NUM, "role": "all"})


@pytest.fixture(scope="module")
def records():
    return get_dataset("scenes/val", num=NUM, role="all")[:]


def write_panoptic_truth(path, records, *, change=lambda answer: answer):
    vocabulary = records[0].vocabulary
    rows = zip(vocabulary.dataset_ids, vocabulary.names, vocabulary.isthing, strict=True)
    with PanopticWriter(path, [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in rows]) as writer:
        for record in records:
            truth = true_panoptic(record)
            segments = [{**s, "category_id": vocabulary.dataset_ids[s["category_id"]]} for s in truth.segments]
            writer.add(record.image_id, change(PanopticAnswer(truth.segment_map, segments)))
    return path


def finds(records, **more):
    return [
        {
            "image_id": record.image_id,
            "category_id": record.vocabulary.dataset_ids[a.label],
            "score": 0.9,
            "bbox": [a.box[0], a.box[1], a.box[2] - a.box[0], a.box[3] - a.box[1]],
            "segmentation": encode_mask(decode_mask(a.segmentation, record.size)),
            **more,
        }
        for record in records
        for a in record.annotations
        if a.isthing
    ]


def answers(records, *, by="ref_id"):
    out = []
    for record in records:
        for expression in record.expressions:
            mask = true_mask(record, expression)
            single = len(expression.targets) == 1
            key = {"image_id": record.image_id, "expression": expression.text}
            out.append(
                {
                    **(key if by == "text" else {"ref_id": expression.id}),
                    "segmentation": None if mask is None else encode_mask(mask),
                    "box": list(record.annotations[expression.targets[0]].box) if single else None,
                }
            )
    return out


def write(path, data):
    path.write_text(json.dumps(data))
    return path


def score(file, tmp_path, *metrics, data=SCENES, **more):
    return score_predictions([file], data, metrics=metrics, out=tmp_path / "out", show=False, **more)


def test_panoptic_and_semantic_truth_is_hundred_and_the_file_says_how(records, tmp_path):
    file = write_panoptic_truth(tmp_path / "answers.json", records)
    found = score(file, tmp_path, "panoptic", "semantic")
    names = {f"panoptic/{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")}
    assert found == dict.fromkeys({*names, "semantic/mIoU", "semantic/pixel_accuracy"}, 100.0)
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["metrics"] == found and set(content) == {"metrics", "intervals", "protocol", "data", "versions"}
    assert content["intervals"] == dict.fromkeys(found, [100.0, 100.0])
    assert content["protocol"]["metrics"] == ["panoptic", "semantic"]
    assert len(content["protocol"]["predictions"][str(file)]) == len(content["protocol"]["vocabulary_hash"]["panoptic"])
    assert content["data"]["sets"]["panoptic"] == {
        "dataset": "scenes/val",
        "options": SCENES.options,
        "limit": 0,
        "counts": {"images": NUM},
        "predictions": {"panoptic": "../answers.json"},
    }


def test_tables_and_intervals_stand_beside_the_metrics(records, tmp_path, capsys):
    lost = records[0].image_id
    given = [{**e, "score": 0.8} for e in finds(records) if e["image_id"] != lost]
    files = [write_panoptic_truth(tmp_path / "maps.json", records), write(tmp_path / "finds.json", given)]
    files.append(write(tmp_path / "answers.json", answers(records)))
    score_predictions(files, SCENES, out=tmp_path / "out")
    assert "95 %" in capsys.readouterr().out
    tables = json.loads((tmp_path / "out" / "tables.json").read_text())
    assert {f"{name}/per_class" for name in ("panoptic", "semantic", "detection")} < set(tables)
    columns, rows = tables["panoptic/per_class"].values()
    assert columns == ["name", "PQ", "SQ", "RQ", "TP", "FP", "FN"] and rows == sorted(rows)
    things = sum(a.isthing for record in records for a in record.annotations)
    assert sum(row[1] for row in tables["detection/per_class"]["rows"]) == things
    sizes = tables["detection/per_size"]
    assert [row[0] for row in sizes["rows"]] == ["small", "medium", "large"]
    assert sum(row[sizes["columns"].index("objects")] for row in sizes["rows"]) == things
    asked = sum(len(record.expressions) for record in records)
    for name in ("grec/per_size", "grec/per_kind"):
        assert sum(row[1] for row in tables[name]["rows"]) == asked
    assert set(dict.fromkeys(row[0] for row in tables["grec/per_size"]["rows"])) <= {"small", "medium", "large", "none"}
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"panoptic/PQ", "semantic/mIoU", "grec/gIoU", "referring/all/cIoU", "rec/Acc@0.5"} <= set(
        content["intervals"]
    )
    assert set(content["intervals"]) <= set(content["metrics"])
    score_predictions(files, SCENES, out=tmp_path / "out", intervals=False)
    assert "intervals" not in json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "95 %" not in capsys.readouterr().out


def test_several_processes_give_the_same_and_a_changed_picture_another_hash(records, tmp_path):
    def lose_first(answer):
        ids = answer.segment_map.copy()
        ids[ids == answer.segments[0]["id"]] = 0
        return PanopticAnswer(ids, answer.segments[1:])

    file = write_panoptic_truth(tmp_path / "lost.json", records, change=lose_first)
    alone = score(file, tmp_path)
    before = (tmp_path / "out" / "metrics.json").read_text()
    assert score(file, tmp_path, workers=2) == pytest.approx(alone, abs=1e-12) and 0 < alone["panoptic/PQ"] < 100
    picture = sorted((tmp_path / "lost").glob("*.png"))[0]
    picture.write_bytes(picture.read_bytes() + b"x")
    score(file, tmp_path)
    hashes = [
        json.loads(text)["protocol"]["predictions"] for text in (before, (tmp_path / "out/metrics.json").read_text())
    ]
    assert hashes[0] != hashes[1]


def test_detections_boxes_and_masks(records, tmp_path):
    both = finds(records)
    full = {f"detection/{kind}_{name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75", "AR100")}
    found = score(write(tmp_path / "both.json", both), tmp_path)
    assert {name: found[name] for name in full} == pytest.approx(dict.fromkeys(full, 100.0))
    masks = [{k: v for k, v in entry.items() if k != "bbox"} for entry in both]
    assert score(write(tmp_path / "masks.json", masks), tmp_path)["detection/mask_AP"] == pytest.approx(100)
    boxes = [{k: v for k, v in entry.items() if k != "segmentation"} for entry in both]
    alone = score(write(tmp_path / "boxes.json", boxes), tmp_path)
    assert alone["detection/box_AP"] == pytest.approx(100) and all(name.startswith("detection/box_") for name in alone)
    assert score(write(tmp_path / "none.json", []), tmp_path)["detection/box_AP"] == 0.0


@pytest.mark.parametrize("by", ["ref_id", "text"])
def test_answers_to_expressions(by, records, tmp_path):
    given = answers(records, by=by)
    found = score(write(tmp_path / "answers.json", given), tmp_path)
    assert found["referring/all/cIoU"] == found["rec/Acc@0.5"] == found["grec/gIoU"] == found["grec/N-acc"] == 100.0
    silent = [{**entry, "segmentation": None, "box": None} for entry in given]
    mute = score(write(tmp_path / "silent.json", silent), tmp_path)
    assert (
        mute["referring/all/cIoU"] == mute["rec/Acc@0.5"] == mute["grec/T-acc"] == 0.0 and mute["grec/N-acc"] == 100.0
    )
    only_boxes = [{k: v for k, v in entry.items() if k != "segmentation"} for entry in given]
    assert score(write(tmp_path / "boxes.json", only_boxes), tmp_path) == {"rec/Acc@0.5": 100.0}


def test_masks_of_categories_are_measured_as_maps_are(records, tmp_path):
    masks = [
        {
            "image_id": record.image_id,
            "category_id": record.vocabulary.dataset_ids[label],
            "segmentation": encode_mask(true_semantic(record) == label),
        }
        for record in records
        for label in sorted({a.label for a in record.annotations})
    ]
    full = {"semantic/mIoU": 100.0, "semantic/pixel_accuracy": 100.0}
    assert score(write(tmp_path / "semantic.json", masks), tmp_path, "semantic") == full
    fewer = score(write(tmp_path / "fewer.json", masks[1:]), tmp_path)
    assert fewer.keys() == full.keys() and 0 < fewer["semantic/pixel_accuracy"] < 100
    maps = write_panoptic_truth(tmp_path / "maps.json", records)
    both = score_predictions([maps, tmp_path / "fewer.json"], SCENES, out=tmp_path / "out", show=False)
    assert both["semantic/mIoU"] == fewer["semantic/mIoU"] and both["panoptic/PQ"] == 100
    assert score(write(tmp_path / "none.json", []), tmp_path, "semantic")["semantic/mIoU"] == 0
    for place, values, message in (
        (1, {"category_id": 999}, "entry 1: unknown category id 999"),
        (1, {"segmentation": None}, "entry 1 has no 'segmentation'"),
        (1, {"segmentation": masks[0]["segmentation"]}, "entry 1: the mask lies over that of an earlier entry"),
        (0, {"image_id": -5}, "f.json has 1 images that the data does not have: -5"),
    ):
        with pytest.raises(ValueError, match=message):
            score(write(tmp_path / "f.json", changed(masks, place, **values)), tmp_path)


def test_best_masks_lists_and_statuses(records, tmp_path):
    given = answers(records, by="text")
    best = [{**entry, "best": entry["segmentation"], "segmentation": None} for entry in given]
    found = score(write(tmp_path / "best.json", best), tmp_path, workers=2)
    assert found["referring/all/cIoU"] == found["rec_from_mask/Acc@0.5"] == 100 and found["grec/T-acc"] == 0
    lists = [{**e, "segmentation": None if e["segmentation"] is None else [e["segmentation"]]} for e in given]
    assert score(write(tmp_path / "lists.json", lists), tmp_path)["grec/gIoU"] == 100
    matched = score(tmp_path / "lists.json", tmp_path, protocol="muse")
    several = any(len(expression.targets) > 1 for record in records for expression in record.expressions)
    assert several and 0 < matched["grec/gIoU"] < 100  # one mask for several objects is one of their masks at most
    unread = [{"image_id": e["image_id"], "expression": e["expression"], "status": "unparsed"} for e in given]
    mute = score(write(tmp_path / "unread.json", unread), tmp_path)
    assert mute["rec/Acc@0.5"] == mute["grec/N-acc"] == mute["grec/gIoU"] == 0
    counts = json.loads((tmp_path / "out/metrics.json").read_text())["data"]["sets"]["referring"]["counts"]
    assert counts == {
        "images": NUM,
        "expressions": len(given),
        "answered": 0,
        "no_target": 0,
        "unparsed": len(given),
    }
    with pytest.raises(ValueError, match="entry 0: 'status' must be one of answered, no_target, unparsed, got 'lost'"):
        score(write(tmp_path / "f.json", changed(given, 0, status="lost")), tmp_path)


def test_a_folder_as_data_and_the_command(records, tmp_path, capsys):
    write_coco_folder(
        get_dataset("scenes/val", num=NUM, role="panoptic")[:], tmp_path / "data", split="val", panoptic=True
    )
    file = tmp_path / "data" / "annotations" / "panoptic_val.json"
    copy = write(tmp_path / "mine.json", json.loads(file.read_text()))
    (tmp_path / "data" / "panoptic_val").rename(tmp_path / "mine")
    (tmp_path / "data" / "panoptic_val").symlink_to(tmp_path / "mine")
    command = ["evaluate", "--predictions", str(copy), "--data", str(tmp_path / "data"), "split=val"]
    assert main([*command, "--metrics", "panoptic,semantic", "--limit", "2", "--out", str(tmp_path / "out")]) == 0
    content = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert content["metrics"]["panoptic/PQ"] == content["metrics"]["semantic/mIoU"] == 100.0
    assert "annotations/panoptic_val.json" in content["data"]["files"]["panoptic"]
    assert main([*command, "--metrics", "panoptic,detection", "--out", str(tmp_path / "out")]) == 2
    assert "detection needs a list of COCO results" in " ".join(capsys.readouterr().err.split())


def test_real_truth_fed_back(shared_data, tmp_path):
    folder = shared_data / "coco_mini"
    if not folder.is_dir():
        pytest.skip(f"no real annotations: {folder} is absent")
    (tmp_path / "maps.json").symlink_to(folder / "annotations" / "panoptic_val.json")
    (tmp_path / "maps").symlink_to(folder / "panoptic_val")
    val = ScoredData("coco_mini/val", {"root": str(shared_data)}, limit=12)
    assert set(score(tmp_path / "maps.json", tmp_path, data=val).values()) == {100.0}
    instances = json.loads((folder / "annotations" / "instances_val.json").read_text())["annotations"]
    found = [{**entry, "score": 1.0} for entry in instances if not entry["iscrowd"]]
    result = score(write(tmp_path / "finds.json", found), tmp_path, data=val)
    whole = {name: value for name, value in result.items() if "_AR1" not in name or "_AR100" in name}
    assert len(whole) == 20 and whole == pytest.approx(dict.fromkeys(whole, 100.0))
    asked = json.loads((folder / "refs_val.json").read_text())
    boxes = [{"ref_id": entry["ref_id"], "box": (entry["boxes"] or [None])[0]} for entry in asked]
    refs = ScoredData("coco_mini/refs", {"root": str(shared_data)})
    assert score(write(tmp_path / "boxes.json", boxes), tmp_path, data=refs) == {"rec/Acc@0.5": 100.0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--out", "o"],
        ["--predictions", "a.json", "--out", "o"],
        ["--predictions", "a.json", "--data", "x", "--weights", "w", "--out", "o"],
        ["--config-file", "a.yaml", "--data", "x", "--out", "o"],
    ],
)
def test_the_command_refuses_what_does_not_go_together(arguments, capsys):
    assert main(["evaluate", *arguments]) == 2
    assert "--predictions" in capsys.readouterr().err


def changed(entries, place, **values):
    return [{**entry, **values} if index == place else entry for index, entry in enumerate(entries)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"category_id": 999}, "f.json: entry 1: unknown category id 999"),
        ({"score": None}, "f.json: entry 1 has no 'score'"),
        ({"score": float("nan")}, "f.json: entry 1: 'score' must be 1 finite number"),
        ({"bbox": [1, 2, 3]}, "f.json: entry 1: 'bbox' must be 4 finite numbers"),
        ({"segmentation": None}, "f.json: entry 1 has no 'segmentation'"),
        ({"segmentation": {"size": [3, 3], "counts": [9]}}, "f.json: entry 1: RLE size"),
        ({"image_id": -5}, "f.json has 1 images that the data does not have: -5"),
    ],
)
def test_a_wrong_find_is_named(values, message, records, tmp_path):
    with pytest.raises(ValueError, match=message):
        score(write(tmp_path / "f.json", changed(finds(records), 1, **values)), tmp_path)


def test_a_wrong_answer_is_named(records, tmp_path):
    given = answers(records, by="text")
    for entries, message in (
        (given[:-1], "f.json: no entry for the expression"),
        ([*given, given[0]], f"entry {len(given)} answers .* a second time"),
        (
            [*given, {**given[0], "expression": "never asked"}],
            "f.json answers .*never asked.*, which the data does not",
        ),
        (changed(given, 0, segmentation={"size": [3, 3], "counts": [9]}), "f.json: entry 0: RLE size"),
        (changed(given, 0, box=[1, 2]), "f.json: entry 0: 'box' must be 4"),
        ([{"image_id": 0, "expression": "x"}], "entry 0 has neither 'segmentation' nor 'box'"),
    ):
        with pytest.raises(ValueError, match=message):
            score(write(tmp_path / "f.json", entries), tmp_path)


def test_a_wrong_panoptic_file_is_named(records, tmp_path):
    file = write_panoptic_truth(tmp_path / "f.json", records)
    data = json.loads(file.read_text())
    segments = data["annotations"][1]["segments_info"]
    for entries, message in (
        (data["annotations"][:-1], "f.json: no entry for image"),
        ([*data["annotations"], data["annotations"][0]], r"annotations\[3\] is a second one"),
        ([{"image_id": 0, "file_name": "x.png"}], r"f.json: annotations\[0\] has no 'segments_info'"),
        (changed(data["annotations"], 1, segments_info=segments[1:]), "f.json: image .* that no segment lists"),
        (changed(data["annotations"], 1, segments_info=changed(segments, 0, category_id=999)), "known 'category_id'"),
    ):
        with pytest.raises(ValueError, match=message):
            score(write(file, {"annotations": entries}), tmp_path, "panoptic")
    with pytest.raises(FileNotFoundError, match="gone.png"):
        score(write(file, {"annotations": changed(data["annotations"], 0, file_name="gone.png")}), tmp_path, "panoptic")


def test_other_wrong_input(records, tmp_path):
    with pytest.raises(FileNotFoundError, match="predictions not found"):
        score(tmp_path / "gone.json", tmp_path)
    with pytest.raises(ValueError, match="is no file of predictions"):
        score(write(tmp_path / "a.json", {"results": []}), tmp_path)
    with pytest.raises(ValueError, match="unknown metric 'panoptik'; did you mean 'panoptic'"):
        score(write(tmp_path / "a.json", []), tmp_path, "panoptik")
    with pytest.raises(ValueError, match="unknown dataset 'scenes/vall'"):
        score(write(tmp_path / "a.json", []), tmp_path, data=ScoredData("scenes/vall"))
    with pytest.raises(ValueError, match="two files give detection"):
        score_predictions([tmp_path / "a.json"] * 2, SCENES, out=tmp_path)


def test_a_panoptic_file_is_read_as_it_was_written(tmp_path):
    ids = np.array([[0, 70000, 70000], [3, 3, 0]])
    segments = [{"id": 70000, "category_id": 8, "iscrowd": 1}, {"id": 3, "category_id": 2}, {"id": 5, "category_id": 2}]
    with PanopticWriter(tmp_path / "p.json", [{"id": 2, "name": "a", "isthing": 1}]) as writer:
        writer.add(12, PanopticAnswer(ids, segments))
        with pytest.raises(ValueError, match=r"image 13: the map holds ids \[3, 70000\]"):
            writer.add(13, PanopticAnswer(ids, []))
    file = PanopticFile(tmp_path / "p.json")
    answer = file.read(12, (2, 3))
    assert file.image_ids == [12] and file.pictures() == [tmp_path / "p" / "000000000012.png"]
    assert np.array_equal(answer.segment_map, ids)
    assert answer.segments == [
        {"id": 70000, "category_id": 8, "area": 2, "bbox": [1, 0, 2, 1], "iscrowd": 1},
        {"id": 3, "category_id": 2, "area": 2, "bbox": [0, 1, 2, 1], "iscrowd": 0},
    ]
