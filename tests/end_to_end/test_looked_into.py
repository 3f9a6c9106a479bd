"""Results of a model are looked into and compared by the commands that do so for files of predictions."""

import json

import pytest
from end_to_end.test_saved_predictions import SETS, measured
from oracles.tiny import tiny_config
from oracles.truth_teller import TruthTeller

from mvplm.analysis import open_results
from mvplm.cli import main
from mvplm.runs import run_evaluation

NAMES = {"maps_panoptic", "maps_semantic", "named", "objects", "sentences", "groups"}


@pytest.fixture
def folders(perceiver, tmp_path, monkeypatch):
    """Two runs: ``right`` answers the truth, ``wrong`` is muddled."""
    measured(perceiver, tmp_path / "wrong", monkeypatch, protocol="merged")
    teller = TruthTeller(perceiver)
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    teller.config = tiny_config(f"eval={json.dumps({'sets': SETS, 'res_protocol': 'merged'})}", "infer.mode=skip")
    run_evaluation(teller.config, out=tmp_path / "right", show=False)
    return tmp_path


def test_a_page_shows_every_set_of_a_model(folders):
    assert {entry.name for entry in open_results(folders / "wrong").sets} == NAMES
    assert main(["analyse", str(folders / "wrong"), "--images", "1"]) == 0
    page = (folders / "wrong" / "analysis.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"{name}: worst and best pictures" in page and (folders / f"wrong/analysis/{name}_worst_1.png").is_file()
    assert "heldout/per_size" in page and "grec/per_kind" in page and "groups: scores" in page


def test_the_differences_of_two_models_have_the_names_and_values_of_their_metrics(folders):
    out = folders / "all.json"
    assert main(["compare", str(folders / "right"), str(folders / "wrong"), "--out", str(out)]) == 0
    (found,) = json.loads(out.read_text())
    rows = {row["metric"]: row for row in found["differences"]}
    sides = [json.loads((folders / name / "metrics.json").read_text()) for name in ("right", "wrong")]
    assert set(rows) == set(sides[0]["metrics"]) and len(rows) == len(found["differences"])
    for name, row in rows.items():
        assert [row["first"], row["second"]] == [side["metrics"][name] for side in sides], name
    for name in ("mine/mIoU", "detection/mask_AP", "heldout/box_AP50", "rec_from_mask/Acc@0.5", "panoptic/PQ"):
        low, high = rows[name]["interval"]
        assert low <= high and name in sides[0]["intervals"], name
    assert rows["mine/mIoU"]["excludes_0"] and rows["mine/mIoU"]["interval"][1] < 0
    # One of the three maps is not moved: some draws take it alone.
    assert not rows["panoptic/PQ"]["excludes_0"] and rows["panoptic/PQ"]["interval"][1] == 0
    # Boxes of the groups move by less than a pixel: no picture changes by its F1.
    assert {change["set"] for change in found["changes"]} == NAMES - {"groups"}
    assert {change["metric"] for change in found["changes"] if change["set"] == "named"} == {"mine/mIoU"}
