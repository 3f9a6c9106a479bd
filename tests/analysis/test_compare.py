"""``mvplm compare``: known differences are found with their pictures, other protocols and data are refused."""

import json

import pytest
from analysis.conftest import IMAGES, write_finds, write_maps

from mvplm.analysis import compare_results
from mvplm.cli import main
from mvplm.measuring.scoring import ScoredData, score_predictions


def one_dog_lost(image_id, name):
    return "cat" if (image_id, name) == (4, "dog") else name


@pytest.fixture
def results(tmp_path, folder, panoptic_records):
    """Directories of results: ``a`` is perfect, ``b`` has one fault, ``c`` is as ``a`` on fewer pictures."""
    right = write_maps(tmp_path / "right.json", panoptic_records)
    wrong = write_maps(tmp_path / "wrong.json", panoptic_records, one_dog_lost)
    for name, file, limit in (("a", right, 0), ("b", wrong, 0), ("c", right, 3)):
        data = ScoredData(str(folder), {"split": "val"}, limit)
        score_predictions([file], data, out=tmp_path / name, show=False, metrics=["panoptic"] if name == "b" else [])
    return tmp_path


def test_the_difference_and_its_picture_are_those_that_were_planted(results):
    (found,) = compare_results([results / "a", results / "b"])
    rows = {entry.metric: entry for entry in found.differences}
    assert set(rows) == {f"panoptic/{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")}
    # RQ of dogs: 5 right, 1 missed; of cats: 6 right, 1 too many; <script> and sky are whole.
    expected = 100 * ((5 / 5.5) + (6 / 6.5) + 1 + 1) / 4 - 100
    whole = rows["panoptic/PQ"]
    assert whole.value == pytest.approx(expected) == whole.interval.value
    # One picture of six carries the whole difference: draws without it show none.
    assert whole.interval.high == pytest.approx(0, abs=1e-9) and whole.interval.low < expected and not whole.certain
    assert rows["panoptic/PQ_st"].value == 0
    (change,) = found.changes
    assert (change.set, change.image, change.first) == ("panoptic", 4, pytest.approx(100)) and change.second < 100


def test_a_certain_difference_is_marked(tmp_path, folder, panoptic_records, capsys):
    data = ScoredData(str(folder), {"split": "val"})
    for name, change in (("a", lambda image, name: name), ("b", lambda image, name: "cat" if name == "dog" else name)):
        file = write_maps(tmp_path / f"{name}.json", panoptic_records, change)
        score_predictions([file], data, out=tmp_path / name, show=False)
    out = tmp_path / "deep" / "all.json"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "excludes 0" in printed and "panoptic/PQ" in printed and "Most changed" in printed
    (content,) = json.loads(out.read_text())
    rows = {row["metric"]: row for row in content["differences"]}
    assert rows["panoptic/PQ"]["excludes_0"] and rows["panoptic/PQ"]["interval"][1] < 0
    assert not rows["panoptic/PQ_st"]["excludes_0"] and len(content["changes"]) == 2 * IMAGES
    page = tmp_path / "all.html"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(page)]) == 0
    assert "excludes 0" in page.read_text(encoding="utf-8")


def test_detections_are_compared_too(tmp_path, folder, panoptic_records):
    data = ScoredData(str(folder), {"split": "val"})
    without = {"a": None, "b": (2, "cat")}
    for name, lost in without.items():
        file = write_finds(
            tmp_path / f"{name}.json", panoptic_records, lambda i, n, lost=lost: None if (i, n) == lost else (n, 0.9)
        )
        score_predictions([file], data, out=tmp_path / name, show=False)
    (found,) = compare_results([tmp_path / "a", tmp_path / "b"])
    rows = {entry.metric: entry for entry in found.differences}
    lost = rows["detection/box_AP50"]
    assert lost.value < 0 and lost.interval.value == pytest.approx(lost.value)
    # One picture of six carries the whole difference: draws without it show none.
    assert lost.interval.high == pytest.approx(0, abs=1e-9) and lost.interval.low < lost.value
    assert rows["detection/box_AR100"].interval is None
    assert [(change.image, change.metric) for change in found.changes] == [(2, "F1")]


def test_more_than_two_are_each_compared_with_the_first(results):
    score_predictions([results / "right.json"], data_of(results, "a"), out=results / "d", show=False)
    found = compare_results([results / "a", results / "b", results / "d"])
    assert [comparison.names for comparison in found] == [
        [str(results / "a"), str(results / "b")],
        [str(results / "a"), str(results / "d")],
    ]
    assert found[1].changes == [] and {entry.value for entry in found[1].differences} == {0.0}


def data_of(results, name):
    entry = json.loads((results / name / "metrics.json").read_text())["data"]["sets"]["panoptic"]
    return ScoredData(entry["dataset"], entry["options"], entry["limit"])


def test_what_cannot_be_compared_is_refused(results, capsys):
    def told(*names):
        assert main(["compare", *(str(results / name) for name in names)]) == 2
        return " ".join(capsys.readouterr().err.split())

    assert "measured on different data" in (message := told("a", "c")) and "panoptic: limit: 0 / 3" in message
    assert "needs two directories" in told("a")
    assert "given twice" in told("a", "a")
    path = results / "b" / "metrics.json"
    content = json.loads(path.read_text())
    content["protocol"] |= {"synonyms": "first"}
    path.write_text(json.dumps(content))
    other = json.loads((results / "a" / "metrics.json").read_text())
    other["protocol"] |= {"synonyms": "joined"}
    (results / "a" / "metrics.json").write_text(json.dumps(other))
    assert "counted by different protocols and cannot share a table: synonyms" in told("a", "b")
    assert main(["compare", str(results / "a"), str(results / "b"), "--out", "x.csv"]) == 2
    assert "must end in .html or .json" in " ".join(capsys.readouterr().err.split())
