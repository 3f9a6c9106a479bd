"""The predictions an evaluation writes give its numbers again, with no model."""

import json
import random
from dataclasses import replace

import pytest
import torch
from oracles.tiny import tiny_config
from oracles.truth_teller import TruthTeller

from mvplm.cli import main
from mvplm.evaluation import check_comparable, protocols
from mvplm.evaluation.naming import prefixed
from mvplm.measuring.scoring import reopen, score_file
from mvplm.perceiver import Perceiver
from mvplm.runs import evaluate_perceiver, run_evaluation
from mvplm.structures import Perception

MORE = {"num": 3, "size": 96}
SETS = {
    "maps": {"dataset": "scenes/val", "options": {"role": "panoptic", **MORE}, "task": "panoptic"},
    "named": {"dataset": "scenes/val", "options": {"role": "panoptic", **MORE}, "task": "semantic", "prefix": "mine"},
    "objects": {"dataset": "scenes/val", "options": {"role": "panoptic", **MORE}, "task": "instance", "limit": 2},
    "sentences": {"dataset": "scenes/val", "options": {"role": "referring", **MORE}, "task": "gres"},
    "groups": {"dataset": "scenes/heldout", "options": {"role": "detection", **MORE}, "task": "detection"},
}
FILES = {
    "maps": {"panoptic": "predictions/maps/panoptic.json", "semantic": "predictions/maps/semantic.json"},
    "named": {"semantic": "predictions/named/semantic.json"},
    "objects": {"detection": "predictions/objects/detections.json"},
    "sentences": {"referring": "predictions/sentences/expressions.json"},
    "groups": {"detection": "predictions/groups/detections.json"},
}


def muddled(answer: Perception, dice: random.Random) -> Perception:
    """An answer that is partly wrong: it loses objects, moves the others and is unsure of them."""
    if answer.panoptic is not None:
        moved = answer.panoptic.segment_map.roll(dice.randint(0, 9), 1)
        return replace(answer, panoptic=replace(answer.panoptic, segment_map=moved))
    if answer.semantic is not None:
        moved = answer.semantic.class_map.roll(dice.randint(0, 9), 0)
        return replace(answer, semantic=replace(answer.semantic, class_map=moved))
    assert answer.instances is not None
    found = answer.instances.keep(
        torch.tensor([dice.random() < 0.8 for _ in answer.instances.labels], dtype=torch.bool)
    )
    masks = None if found.masks is None else found.masks.roll(dice.randint(0, 5), 2)
    scores = torch.tensor([dice.random() for _ in found.labels])
    return replace(answer, instances=replace(found, boxes=found.boxes + dice.random(), masks=masks, scores=scores))


def measured(perceiver, out, monkeypatch, *, protocol="per_sentence", **more):
    dice = random.Random(0)
    teller = TruthTeller(perceiver, lambda answer: muddled(answer, dice))
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    teller.config = tiny_config(f"eval={json.dumps({'sets': SETS, 'res_protocol': protocol})}", "infer.mode=skip")
    return run_evaluation(teller.config, out=out, show=False, **more)


def scored_again(out):
    found = {}
    for saved in reopen(out):
        for metric in saved.metrics:
            scorer = score_file(saved.read(metric), saved.data, metric=metric, protocol=saved.protocol)
            found |= prefixed(scorer.compute(), saved.data.prefix)
    return found


@pytest.mark.parametrize("protocol", ["merged", "muse"])
def test_every_number_comes_back_from_the_files(protocol, perceiver: Perceiver, tmp_path, monkeypatch):
    metrics = measured(perceiver, tmp_path, monkeypatch, protocol=protocol)
    again = scored_again(tmp_path)
    assert set(metrics) <= set(again) and set(again) - set(metrics) == {"semantic/pixel_accuracy"}
    assert {name: again[name] for name in metrics} == pytest.approx(metrics, abs=1e-9)
    assert sum(0 < value < 100 for value in metrics.values()) > len(metrics) / 2
    assert {"heldout/box_AP", "mine/mIoU", "rec_from_mask/Acc@0.5", "grec/gIoU"} <= set(metrics)


def test_a_real_model_too(perceiver: Perceiver, tmp_path, monkeypatch):
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: perceiver)
    config = tiny_config(f"eval={json.dumps({'sets': SETS})}", "infer.mode=skip", "post.gres_score=0.2")
    metrics = run_evaluation(config, limit=2, out=tmp_path, show=False)
    again = scored_again(tmp_path)
    assert {name: again[name] for name in metrics} == pytest.approx(metrics, abs=1e-9)


def test_the_metrics_file_says_what_was_measured_and_where_the_answers_are(perceiver, tmp_path, monkeypatch):
    measured(perceiver, tmp_path, monkeypatch)
    content = json.loads((tmp_path / "metrics.json").read_text())
    sets = content["data"]["sets"]
    assert {name: entry["predictions"] for name, entry in sets.items()} == FILES
    assert sets["objects"]["counts"] == {"images": 2} and sets["objects"]["limit"] == 2
    counts = sets["sentences"]["counts"]
    assert counts["images"] == 3 and counts["unparsed"] == 0 < counts["no_target"] < counts["expressions"]
    assert counts["expressions"] == counts["answered"] + counts["no_target"]
    protocol = content["protocol"]
    assert protocol["image"]["size"] == tiny_config().image.size and set(protocol["vocabulary_hash"]) >= {"maps"}
    saved = {entry.name: entry for entry in reopen(tmp_path)}
    assert set(saved) == set(SETS) and saved["maps"].metrics == ("panoptic", "semantic")
    assert saved["sentences"].protocol == protocols.get("per_sentence") and saved["named"].data.prefix == "mine"


def test_the_command_scores_them_by_any_protocol(perceiver, tmp_path, monkeypatch, capsys):
    metrics = measured(perceiver, tmp_path / "model", monkeypatch, protocol="gres")
    file = tmp_path / "model" / FILES["sentences"]["referring"]
    order = ["evaluate", "--predictions", str(file), "--data", "scenes/val", "role=referring", "num=3", "size=96"]
    contents = {"model": json.loads((tmp_path / "model" / "metrics.json").read_text())}
    for name in ("gres", "lisa"):
        assert main([*order, "--protocol", name, "--out", str(tmp_path / name)]) == 0
        contents[name] = json.loads((tmp_path / name / "metrics.json").read_text())
        assert contents[name]["protocol"]["referring"] == protocols.get(name).as_dict()
    assert contents["gres"]["metrics"] == {
        name: pytest.approx(metrics[name], abs=1e-4) for name in contents["gres"]["metrics"]
    }
    check_comparable({name: contents[name] for name in ("model", "gres")})
    with pytest.raises(ValueError, match="union_offset"):
        check_comparable({name: contents[name] for name in ("model", "lisa")})
    (again,) = reopen(tmp_path / "gres")
    assert again.files["referring"].samefile(file) and again.protocol == protocols.get("gres")
    assert (
        contents["gres"]["data"]["sets"]["referring"]["counts"]
        == contents["model"]["data"]["sets"]["sentences"]["counts"]
    )
    assert main([*order, "--protocol", "gress", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean 'gres'" in capsys.readouterr().err


def test_nothing_is_written_where_nobody_asks(perceiver, tmp_path, monkeypatch):
    measured(perceiver, tmp_path, monkeypatch, save_predictions=False, limit=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "tables.json"]
    with pytest.raises(ValueError, match="names no predictions; evaluate again without --no-save-predictions"):
        reopen(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"metrics.json is not there"):
        reopen(tmp_path / "gone")
    monkeypatch.chdir(tmp_path)
    evaluate_perceiver(TruthTeller(perceiver), tiny_config(f"eval={json.dumps({'sets': SETS})}"), limit=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "tables.json"]


def test_an_evaluation_that_breaks_off_leaves_whole_sets_only(perceiver, tmp_path, monkeypatch):
    def stop(answer):
        stop.left -= 1
        if not stop.left:
            raise KeyboardInterrupt
        return answer

    stop.left = 8  # three pictures with two answers each, then the second of the next set
    teller = TruthTeller(perceiver, stop)
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    with pytest.raises(KeyboardInterrupt):
        run_evaluation(tiny_config(f"eval={json.dumps({'sets': SETS})}"), out=tmp_path, show=False)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left - {f"predictions/maps/panoptic/{i:012d}.png" for i in range(3)} == set(FILES["maps"].values())


def test_files_that_are_gone_are_named(perceiver, tmp_path, monkeypatch):
    measured(perceiver, tmp_path, monkeypatch, limit=1)
    (tmp_path / FILES["maps"]["semantic"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"set 'maps' names predictions that are gone: .*semantic.json"):
        reopen(tmp_path)
    (tmp_path / "metrics.json").write_text("[]")
    with pytest.raises(ValueError, match="is no metrics file"):
        reopen(tmp_path)
