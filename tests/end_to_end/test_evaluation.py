"""The evaluation of a whole config file: which numbers it writes, and that the truth scores 100 everywhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles.tiny import tiny_config, tiny_yaml
from oracles.truth_teller import TruthTeller
from PIL import Image

from mvplm.cli import main
from mvplm.config import Config
from mvplm.evaluation import protocols
from mvplm.perceiver import Perceiver
from mvplm.runs import run_evaluation
from mvplm.structures import Perception

SETS = {
    "panoptic": {"dataset": "scenes/val", "options": {"role": "panoptic"}, "task": "panoptic"},
    "instance": {"dataset": "scenes/val", "options": {"role": "panoptic"}, "task": "instance"},
    "referring": {"dataset": "scenes/val", "options": {"role": "referring"}, "task": "gres"},
    "heldout": {"dataset": "scenes/heldout", "options": {"role": "detection"}, "task": "detection"},
}
# The pictures are small: no object is large.
AP_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "AR1", "AR10", "AR100", "ARs", "ARm")
KEYS = {
    *(f"panoptic/{name}{part}" for name in ("PQ", "SQ", "RQ") for part in ("", "_th", "_st")),
    "semantic/mIoU",
    *(f"detection/{kind}_{name}" for kind in ("box", "mask") for name in AP_NAMES),
    *(f"{group}/box_{name}" for group in ("heldout", "seen") for name in AP_NAMES),
    *(f"referring/{kind}/{name}" for kind in ("attribute", "relation", "all") for name in ("cIoU", "gIoU")),
    "rec/Acc@0.5",
    "rec_from_mask/Acc@0.5",
    *(f"grec/{name}" for name in ("cIoU", "gIoU", "N-acc", "T-acc")),
    *(f"{group}/Pr@0.{tenth}" for group in ("referring/all", "grec") for tenth in range(5, 10)),
}


def small_sets(**options) -> dict:
    """The sets with small pictures."""
    more = {"num": 6, "size": 96, **options}
    return {name: {**entry, "options": {**entry["options"], **more}} for name, entry in SETS.items()}


def config(**options) -> Config:
    return tiny_config(f"eval={json.dumps({'sets': small_sets(**options), 'batch_size': 5})}", "infer.mode=skip")


@pytest.fixture(scope="module")
def written(perceiver: Perceiver, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """metrics.json of the random model, written by the command."""
    folder = tmp_path_factory.mktemp("evaluation")
    model = perceiver.save(folder / "model")
    path = tiny_yaml(folder, {"eval": {"sets": small_sets(), "batch_size": 5}, "infer": {"mode": "skip"}})
    out = folder / "deep" / "out"
    order = ["evaluate", "--config-file", str(path), "--weights", str(model), "--limit", "4", "--out", str(out)]
    assert main([*order, "--pictures", "1"]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (out / "pictures").iterdir()) == sorted(f"{name}_0.png" for name in SETS)
    tables = json.loads((out / "tables.json").read_text())
    return json.loads((out / "metrics.json").read_text()) | {"page": page, "tables": tables}


def test_metrics_have_the_fixed_names_and_are_percent(written: dict):
    assert set(written) == {"metrics", "intervals", "protocol", "data", "versions", "page", "tables"}
    assert set(written["metrics"]) == KEYS
    assert all(isinstance(value, float) and 0 <= value <= 100 for value in written["metrics"].values())


def test_intervals_and_tables_are_there(written: dict):
    found = {name.rpartition("/")[2] for name in written["intervals"] if name.startswith("detection/")}
    assert found == {f"{kind}_{name}" for kind in ("box", "mask") for name in ("AP", "AP50", "AP75")}
    assert set(written["intervals"]) <= KEYS and {"panoptic/PQ", "seen/box_AP"} <= set(written["intervals"])
    for name, (low, high) in written["intervals"].items():
        assert low <= high and low >= 0 and high <= 100, name
    assert {"panoptic/per_class", "semantic/per_class", "grec/per_kind", "seen/per_class"} <= set(written["tables"])


def test_it_stands_there_how_and_on_what_it_was_measured(written: dict):
    from mvplm.data.scenes import WORLD_VERSION, world_hash

    assert written["data"]["scenes_version"] == WORLD_VERSION and written["data"]["scenes_hash"] == world_hash()
    assert {name: entry["limit"] for name, entry in written["data"]["sets"].items()} == dict.fromkeys(SETS, 4)
    assert written["protocol"]["mode"] == "skip" and written["protocol"]["weights"].endswith("model")
    assert len(written["protocol"]["config_hash"]) == 12 and written["protocol"]["post"]["top_k"] == 100
    assert written["protocol"]["referring"] == protocols.get("per_sentence").as_dict()
    assert written["versions"]["torch"].startswith(torch.__version__.split("+")[0])


def test_the_report_shows_an_answer_of_every_set_and_the_numbers(written: dict):
    page = written["page"]
    assert page.count("<img") == len(SETS) and page.count("in the picture") == len(SETS)
    assert all(name in page for name in written["metrics"])


def measure(perceiver: Perceiver, out: Path, monkeypatch: pytest.MonkeyPatch, *, lie=lambda answer: answer, limit=4):
    teller = TruthTeller(perceiver, lie)
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    metrics = run_evaluation(config(), limit=limit, out=out, show=False)
    assert not teller.waiting
    return metrics, teller


def test_the_truth_scores_100_everywhere(perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    metrics, teller = measure(perceiver, tmp_path, monkeypatch)
    assert set(metrics) == KEYS
    ranked = ("AR1", "AR10")  # with so few finds a picture not every object of a name is found
    below = {name: value for name, value in metrics.items() if value != pytest.approx(100)}
    assert {name for name in below if not name.endswith(ranked)} == set()
    assert max(teller.sizes) == 5  # the batch size of the config, also across records with several expressions


def nothing(answer: Perception) -> Perception:
    """An answer that found nothing."""
    if answer.panoptic is not None:
        return replace(
            answer, panoptic=replace(answer.panoptic, segment_map=answer.panoptic.segment_map * 0, segments=[])
        )
    if answer.semantic is not None:
        return replace(answer, semantic=replace(answer.semantic, class_map=answer.semantic.class_map * 0 - 1))
    return replace(answer, instances=answer.instances.keep(torch.zeros(0, dtype=torch.int64)))


def test_silence_scores_nothing_but_on_expressions_for_nothing(
    perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    metrics, _ = measure(perceiver, tmp_path, monkeypatch, lie=nothing)
    assert set(metrics) == KEYS and metrics["grec/N-acc"] == 100
    assert 0 < metrics["grec/gIoU"] < 50
    right = ("grec/N-acc", "grec/gIoU", *(f"grec/Pr@0.{tenth}" for tenth in range(5, 10)))
    others = {name: value for name, value in metrics.items() if name not in right}
    assert {name: value for name, value in others.items() if value} == {}


def test_a_limit_means_records_and_zero_means_all(
    perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, few = measure(perceiver, tmp_path, monkeypatch, limit=2)
    _, every = measure(perceiver, tmp_path, monkeypatch, limit=0)
    assert few.sizes[:2] == [2, 2] and every.sizes[:4] == [5, 1, 5, 1]


def test_a_prefix_renames_a_set(perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    teller = TruthTeller(perceiver)
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    entry = {"dataset": "scenes/heldout", "options": {"role": "detection", "num": 2, "size": 96}, "task": "detection"}
    sets = {"plain": entry, "named": {**entry, "prefix": "mine"}}
    metrics = run_evaluation(tiny_config(f"eval.sets={json.dumps(sets)}"), out=tmp_path, show=False)
    assert {name for name in metrics if name.endswith("/box_AP50")} == {
        f"{group}/box_AP50" for group in ("heldout", "seen", "mine")
    }
    assert {name.split("/")[0] for name in metrics} == {"heldout", "seen", "mine"}


def test_sets_of_one_collection_have_an_average(perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lie = iter([True, True, False, False])
    teller = TruthTeller(perceiver, lambda answer: nothing(answer) if next(lie) else answer)
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: teller)
    entry = {"dataset": "scenes/heldout", "options": {"role": "detection", "num": 2, "size": 96}, "task": "detection"}
    sets = {name: {**entry, "prefix": f"odinw/{name}"} for name in ("Aquarium", "Pistols")}
    metrics = run_evaluation(tiny_config(f"eval.sets={json.dumps(sets)}"), out=tmp_path, show=False)
    assert metrics["odinw/Aquarium/box_AP"] == 0 and metrics["odinw/Pistols/box_AP"] == pytest.approx(100)
    assert metrics["odinw/average_AP"] == metrics["odinw/median_AP"] == pytest.approx(50)
    assert metrics["odinw/sets"] == 2


def test_grounding_asks_every_picture_for_phrases_of_its_own(
    perceiver: Perceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Flickr30k entities in MDETR's files, by a random model: it runs and gives numbers."""
    images = tmp_path / "flickr30k" / "flickr30k-images"
    images.mkdir(parents=True)
    caption = "a man and two dogs"
    data = {"images": [], "annotations": [], "categories": []}
    for number in range(3):
        Image.new("RGB", (60, 40), (90 * number, 80, 20)).save(images / f"{number}.jpg")
        info = {"id": number, "file_name": f"{number}.jpg", "width": 60, "height": 40, "caption": caption}
        data["images"].append(info)
        for box, span in (([2, 3, 10, 20], [0, 5]), ([20, 3, 10, 9], [10, 18]), ([40, 3, 10, 9], [10, 18])):
            entry = {"id": len(data["annotations"]), "image_id": number, "bbox": box, "tokens_positive": [span]}
            data["annotations"].append({**entry, "area": 90.0, "iscrowd": 0, "category_id": 1})
    (tmp_path / "goldg").mkdir()
    (tmp_path / "goldg" / "final_flickr_separateGT_val.json").write_text(json.dumps(data), encoding="utf-8")
    monkeypatch.setattr("mvplm.runs.load_for_evaluation", lambda config, weights: perceiver)
    sets = {"flickr": {"dataset": "flickr30k_goldg_val", "options": {"root": str(tmp_path)}, "task": "grounding"}}
    wanted = tiny_config(f"eval.sets={json.dumps(sets)}", "infer.mode=skip")
    metrics = run_evaluation(wanted, out=tmp_path / "out", show=False)
    assert set(metrics) == {f"grounding/{merged}R@{k}" for merged in ("", "merged/") for k in (1, 5, 10)}
    assert 0 <= metrics["grounding/R@1"] <= metrics["grounding/R@5"] <= metrics["grounding/R@10"] <= 100


def test_the_held_out_split_tells_which_of_its_names_are_new():
    from mvplm.data.scenes import HELD_OUT, SceneDataset

    dataset = SceneDataset("heldout", num=1, role="detection")
    groups = dataset.name_groups
    assert set(groups["heldout"]) == HELD_OUT and not HELD_OUT & set(groups["seen"])
    assert sorted(groups["heldout"] + groups["seen"]) == sorted(dataset.vocabulary.names)
    assert SceneDataset("val", num=1, role="detection").name_groups is None
    assert SceneDataset("heldout", num=1, role="panoptic").name_groups is None
    assert SceneDataset("heldout", num=1, role="grounding").name_groups is None
