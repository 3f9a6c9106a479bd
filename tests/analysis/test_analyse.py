"""``mvplm analyse``: planted faults are found where they were planted, a perfect result has none."""

import json
import re

import numpy as np
import pytest
from analysis.conftest import IMAGES, write_finds, write_maps
from PIL import Image

from mvplm.analysis import open_results
from mvplm.analysis.judged import confusion_of, matches_of, picture_scores
from mvplm.cli import main
from mvplm.measuring.scoring import ScoredData, score_predictions


def swapped(image_id, name):
    """In image 3 the dog is called a cat, in image 5 dog and <script> are called cats."""
    wrong = {3: ("dog",), 5: ("dog", "<script>")}.get(image_id, ())
    return "cat" if name in wrong else name


def found(image_id, name):
    return swapped(image_id, name), 0.4 if swapped(image_id, name) != name else 0.9


def surely_wrong(image_id, name):
    return swapped(image_id, name), 0.95 if swapped(image_id, name) != name else 0.9


def scored(tmp_path, folder, *files, name="results"):
    data = ScoredData(str(folder), {"split": "val"})
    score_predictions(files, data, out=tmp_path / name, show=False)
    return tmp_path / name


@pytest.fixture
def faulty(tmp_path, folder, panoptic_records):
    maps = write_maps(tmp_path / "maps.json", panoptic_records, swapped)
    finds = write_finds(tmp_path / "finds.json", panoptic_records, surely_wrong)
    return scored(tmp_path, folder, maps, finds)


@pytest.fixture
def perfect(tmp_path, folder, panoptic_records):
    maps = write_maps(tmp_path / "right_maps.json", panoptic_records)
    return scored(tmp_path, folder, maps, write_finds(tmp_path / "right.json", panoptic_records), name="perfect")


def test_the_worst_pictures_and_the_confusions_are_those_that_were_planted(faulty):
    sets = {entry.metric: entry for entry in open_results(faulty).sets}
    assert set(sets) == {"panoptic", "semantic", "detection"}
    for metric, entry in sets.items():
        matches = matches_of(entry)
        scores = picture_scores(entry, matches)
        assert scores.worst(2) == [5, 3] and scores.best(9)[-2:] == [3, 5] and len(scores.values) == IMAGES, metric
        assert scores.values[1] == pytest.approx(100)
        confusion = confusion_of(entry, matches)
        assert [row[:2] for row in confusion.most_frequent(5)][:2] == [["dog", "cat"], ["<script>", "cat"]], metric
    assert confusion_of(sets["panoptic"]).most_frequent(1)[0][2:] == [2 * 20 * 20, pytest.approx(100 / 3)]
    matches = matches_of(sets["detection"])
    assert matches.threshold == 0.9
    assert picture_scores(sets["detection"], matches).values[3] == pytest.approx(100 * 2 / 3)


def test_a_page_shows_everything_and_escapes_names(faulty, tmp_path, capsys):
    assert main(["analyse", str(faulty), "--out", str(tmp_path / "page"), "--images", "2"]) == 0
    assert "analysis.html" in capsys.readouterr().err
    text = (tmp_path / "page" / "analysis.html").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text and not re.search(r"https?://", text)
    for told in ("worst 1: image 5", "Most frequent confusions", "Calibration", "Protocol", "detection/per_size"):
        assert told in text
    links = re.findall(r"src='([^']*)'", text)
    assert {f"analysis/{name}_{kind}_1.png" for name in ("panoptic", "detection") for kind in ("worst", "best")} <= set(
        links
    )
    for link in links:
        with Image.open(tmp_path / "page" / link) as picture:
            assert picture.width > 100
    assert "analysis/detection_precision_recall.png" in links and "analysis/panoptic_confusion.png" in links


def test_a_perfect_result_has_no_confusion(perfect):
    assert main(["analyse", str(perfect), "--images", "1"]) == 0
    text = (perfect / "analysis.html").read_text(encoding="utf-8")
    assert text.count("No name was taken for another.") == 3 and "Most frequent confusions" not in text
    assert "100.0 – 100.0" in text


def test_expressions_have_their_pictures_and_tables(tmp_path):
    from mvplm.data.catalog import get_dataset
    from mvplm.evaluation.truth import true_mask
    from mvplm.structures.masks import encode_mask

    records = get_dataset("scenes/val", num=3, role="all")[:]
    wrong = records[1].image_id
    answers = []
    for entry in records:
        for expression in entry.expressions:
            mask = true_mask(entry, expression)
            code = None if mask is None else encode_mask(mask if entry.image_id != wrong else ~mask)
            answers.append({"ref_id": expression.id, "segmentation": code})
    (tmp_path / "answers.json").write_text(json.dumps(answers))
    out = tmp_path / "out"
    score_predictions([tmp_path / "answers.json"], ScoredData("scenes/val", {"num": 3}), out=out, show=False)
    (entry,) = open_results(out).sets
    scores = picture_scores(entry)
    assert scores.metric == "grec/gIoU" and scores.worst(1) == [wrong]
    assert main(["analyse", str(out), "--images", "1"]) == 0
    text = (out / "analysis.html").read_text(encoding="utf-8")
    assert f"worst 1: image {wrong}" in text and "IoU 0.0, one of" in text and "grec/per_kind" in text


def change_metrics(results, change):
    path = results / "metrics.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_missing_is_named(perfect, tmp_path, folder, capsys):
    def told(*arguments):
        assert main(["analyse", *map(str, arguments)]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert f"{tmp_path / 'gone' / 'metrics.json'} is not there" in told(tmp_path / "gone")
    (tmp_path / "right.json").write_text("[]")
    assert "right.json has changed since the results" in told(perfect)
    (tmp_path / "right.json").unlink()
    assert "names predictions that are gone: " in (message := told(perfect)) and "right.json" in message
    change_metrics(perfect, lambda content: [entry.pop("predictions") for entry in content["data"]["sets"].values()])
    assert "names no predictions; evaluate again" in told(perfect)
    change_metrics(perfect, lambda content: content.pop("protocol"))
    assert "is no metrics file of an evaluation: 'protocol'" in told(perfect)
    (perfect / "metrics.json").write_text("{")
    assert "is no metrics file of an evaluation" in told(perfect)


def test_data_that_is_gone_or_has_changed_is_named(tmp_path, folder, panoptic_records, capsys):
    import shutil

    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    results = scored(tmp_path, mine, write_finds(tmp_path / "f.json", panoptic_records))
    annotations = mine / "annotations" / "instances_val.json"
    annotations.write_text(annotations.read_text() + " ")
    assert main(["analyse", str(results)]) == 2
    assert "instances_val.json" in (told := " ".join(capsys.readouterr().err.split())) and "has changed since" in told
    shutil.rmtree(mine)
    assert main(["analyse", str(results)]) == 2
    assert str(mine) in " ".join(capsys.readouterr().err.split())


def test_scores_of_finds_follow_from_the_matches(folder, panoptic_records, tmp_path):
    """Right finds score 0.9, wrong ones 0.4."""
    results = scored(tmp_path, folder, write_finds(tmp_path / "f.json", panoptic_records, found))
    (entry,) = open_results(results).sets
    matches, ap = matches_of(entry), entry.scorer.groups.ap
    assert [(b.score, b.precision, b.count) for b in ap.calibration()["box"] if b.count] == [
        (pytest.approx(0.4), 0.0, 3),
        (pytest.approx(0.9), 1.0, 15),
    ]
    dogs = ap.curves(0)["box"]
    assert (
        dogs.precision.tolist() == [1.0] * 67 + [0.0] * 34 and dogs.recall.tolist() == np.linspace(0, 1, 101).tolist()
    )
    assert matches.threshold == 0.9 and matches.confusion().tolist()[0][0] == 4
