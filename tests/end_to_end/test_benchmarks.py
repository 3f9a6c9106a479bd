"""The evaluation files of the benchmarks: they open their data and work with any weights; suites; the tables."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from data.language.conftest import Tree, instances, ref
from oracles import dataset_trees as trees
from oracles.tiny import build_tiny, tiny_yaml

from mvplm.cli import main
from mvplm.config import load_config, to_yaml
from mvplm.data.catalog import get_dataset
from mvplm.data.datasets.category_tables import category_table
from mvplm.data.datasets.ors import BUCKETS
from mvplm.engine import CheckpointStore
from mvplm.measuring.config import evaluation_config
from mvplm.measuring.suite_tables import NOT_MEASURED, build_tables, markdown, published
from mvplm.measuring.suites import benchmark_file, list_benchmarks, list_suites, load_suite, plan_suite
from mvplm.pretrained import CONFIG_FILE, TOKENIZER_DIR, find_model
from mvplm.runs import load_for_evaluation
from mvplm.structures.masks import encode_mask

ROOT = Path(__file__).resolve().parents[2]
TINY = "mvplm-tiny-scenes"
HEADER = ("Source:", "Published:", "Data:", "Protocol:", "Command:")
FAST = ("infer.mode=skip", "eval.batch_size=2")


def prepare(name: str, root: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / "datasets" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(["--root", str(root), "--split", "val", "--workers", "1"])


def boxes_with_names() -> dict:
    return {
        "images": [{"height": 60, "width": 80, "id": 1, "file_name": "images/v1/patch8/a.jpg"}],
        "annotations": [
            {"id": 1, "iscrowd": 0, "area": 9.0, "bbox": [1.0, 2.0, 3.0, 3.0], "image_id": 1, "category_id": 5}
        ],
        "categories": [{"name": "Person", "id": 5}],
    }


def phrases() -> dict:
    caption = "A dog"
    return {
        "images": [
            {
                "file_name": "1.jpg",
                "height": 60,
                "width": 80,
                "id": 1,
                "caption": caption,
                "tokens_negative": [[0, len(caption)]],
            }
        ],
        "annotations": [
            {"iscrowd": 0, "image_id": 1, "category_id": 1, "id": 1, "area": 9.0, "bbox": [1.0, 2.0, 3.0, 3.0]}
            | {"tokens_positive": [[2, 5]]}
        ],
        "categories": [{"id": 1, "name": "object"}],
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set of the benchmarks with a picture or two, below a folder called datasets."""
    root = tmp_path_factory.mktemp("place") / "datasets"
    tree = Tree(root)
    trees.coco_tree(root, [dict(row) for row in category_table("coco_panoptic_133")])
    trees.ade_release(root)
    trees.cityscapes_release(root)
    trees.voc_tree(root)
    names = {number: f"class {number}" for number in range(1, 460)}
    trees.context_release(root, {**names, **{r["full_id"]: r["name"] for r in category_table("pascal_context_59")}})
    for script in ("prepare_ade20k", "prepare_cityscapes_panoptic", "prepare_pascal_context"):
        prepare(script, root)
    trees.lvis_tree(root)
    for name in ("Aquarium", "Raccoon", "EgoHands"):
        trees.odinw_tree(root / "odinw" / name)
    tree.json("objects365/annotations/zhiyuan_objv2_val.json", boxes_with_names())
    tree.picture("objects365/images/val/patch8/a.jpg")
    refer(tree)
    for split in ("val", "test"):
        shape = {"label": "target", "shape_type": "polygon", "points": [[10, 10], [39, 10], [39, 39], [10, 39]]}
        tree.picture(f"reason_seg/{split}/a.jpg")
        tree.json(f"reason_seg/{split}/a.json", {"text": ["What is it?"], "is_sentence": True, "shapes": [shape]})
        tree.json(f"goldg/final_flickr_separateGT_{split}.json", phrases())
    tree.picture("flickr30k/flickr30k-images/1.jpg")
    tree.picture("ors_bench/a.jpg")
    lines = [json.dumps(sample(place, bucket)) for place, bucket in enumerate(BUCKETS)]
    (root / "ors_bench" / "samples.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    regions(tree)
    return root


def sample(place: int, bucket: str) -> dict:
    """A sample of ORS-Bench: the upper half of a picture."""
    mask = np.zeros((60, 80), bool)
    mask[:30] = True
    ood = bucket.removeprefix("ood_") if bucket.startswith("ood_") else None
    return {
        **{"id": str(place), "image": "a.jpg", "height": 60, "width": 80, "instruction": "the upper half"},
        **{"kind": "phrasal" if ood else bucket, "ood": ood, "source": "drawn"},
        "instances": [{"label": "half", "bbox": [0, 0, 80, 30], "mask_rle": encode_mask(mask)}],
    }


def regions(tree: Tree) -> None:
    """MUSE, RRSIS-D and EarthReason: a question about one region in every split."""
    region = {"segmentation": [[2, 2, 9, 2, 9, 8, 2, 8]], "bbox": [2, 2, 7, 6], "rephrased_name": "it"}
    entry = {"file_name": "val2017/000000000139.jpg", "height": 10, "width": 20}
    for split in ("val", "test_less", "test_many"):
        tree.json(f"muse/MUSE_{split}.json", [{**entry, "questions": ["What is it?"], "answers": [[region]]}])
    refs = [ref(n, 9, 42, split=split, said={n: "the dog"}) for n, split in enumerate(("val", "test"), 1)]
    tree.pickle("refer/rrsisd/refs(unc).p", refs)
    tree.json("refer/rrsisd/instances.json", instances())
    tree.picture("refer/images/rrsisd/JPEGImages/COCO_train2014_000000000009.jpg")
    for split in ("val", "test"):
        for part in ("images", "labels"):
            tree.picture(f"earthreason/{split}/{part}/a.png")
        tree.json(f"earthreason/{split}/QAs/a.json", {"questions": ["What is it?"], "answer": ["It."]})


def refer(tree: Tree) -> None:
    """RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: two expressions for one dog in every split."""
    for folder, by, splits in (
        ("refcoco", "unc", ("val", "testA", "testB")),
        ("refcoco+", "unc", ("val", "testA", "testB")),
        ("refcocog", "umd", ("val", "test")),
    ):
        said = {split: {10 * n: "left one", 10 * n + 1: "the dog"} for n, split in enumerate(splits, 1)}
        refs = [ref(n, 9, 42, split=split, said=said[split]) for n, split in enumerate(splits, 1)]
        tree.pickle(f"refer/{folder}/refs({by}).p", refs)
        tree.json(f"refer/{folder}/instances.json", instances())
    several = [
        ref(n, 9, [42, 47] if n % 2 else [-1], split=split, said={n: "both"}, no_target=n % 2 == 0)
        for n, split in enumerate(("val", "testA", "testB"), 1)
    ]
    tree.json("refer/grefcoco/grefs(unc).json", several)
    tree.json("refer/grefcoco/instances.json", instances())
    tree.picture("refer/images/mscoco/images/train2014/COCO_train2014_000000000009.jpg")


@pytest.fixture
def placed(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVPLM_DATASETS", str(data))
    monkeypatch.chdir(data.parent)
    return data


def test_the_suite_of_all_has_every_file():
    assert set(load_suite("all").benchmarks) == set(list_benchmarks()) and len(list_benchmarks()) == 21
    for name in list_suites():
        suite = load_suite(name)
        assert set(suite.benchmarks) <= set(list_benchmarks()) and set(suite.tables) <= set(published())


@pytest.mark.parametrize("name", list_benchmarks())
def test_a_file_says_what_it_is_and_opens_its_data(placed: Path, name: str):
    path = benchmark_file(name)
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert [word for word in HEADER if not any(word in line for line in header)] == []
    assert any(f"configs/eval/{name}.yaml" in line for line in header)
    config = evaluation_config(path, weights=TINY)
    own = load_config(find_model(TINY) / CONFIG_FILE)
    assert config.model == own.model and config.image == own.image and config.post.gres_score == own.post.gres_score
    for entry in config.eval.sets.values():
        records = get_dataset(entry.dataset, **entry.options)
        assert len(records) and records[0].size


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("pas20", {"pas20/mIoU"}),
        ("coco_panoptic", {"coco_panoptic/PQ", "coco_panoptic/mIoU"}),
        ("lvis", {"lvis/box_AP", "lvis_rare/box_AP"}),
        ("refcoco", {"refcoco_val/all/cIoU", "refcoco_testB/Acc@0.5"}),
        ("grefcoco", {"grefcoco_val/cIoU", "grefcoco_testA/N-acc"}),
        ("ors_bench", {"ors/category_multi/gIoU", "ors/descriptive/Pr@0.5", "ors/ood_risk/cIoU"}),
    ],
)
def test_the_shipped_model_is_measured(placed: Path, tmp_path: Path, name: str, keys: set[str]):
    order = ["evaluate", "--config-file", str(benchmark_file(name)), "--weights", TINY, "--out", str(tmp_path), *FAST]
    assert main(order) == 0
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert keys <= set(written["metrics"])
    assert bool(written["protocol"]["asked_hash"]) == (name not in ("refcoco", "grefcoco", "ors_bench"))


def test_synonyms_are_asked_and_classes_answered(placed: Path, tmp_path: Path):
    order = ["evaluate", "--config-file", str(benchmark_file("pas20")), "--weights", TINY, *FAST]
    protocols = {}
    for name, more in {
        "first": [],
        "alone": ["names.synonyms=max"],
        "max": ["names.synonyms=max", "names.synonym_file=builtin:pascal_voc_20"],
    }.items():
        assert main([*order, "--out", str(tmp_path / name), *more]) == 0
        protocols[name] = json.loads((tmp_path / name / "metrics.json").read_text())
    assert protocols["first"]["metrics"] == protocols["alone"]["metrics"]
    hashes = [protocols[name]["protocol"]["asked_hash"] for name in ("first", "alone", "max")]
    assert hashes[0] == hashes[1] != hashes[2]
    assert main([*order, "--out", str(tmp_path / "x"), "names.synonym_file=builtin:pascal_voc_20"]) == 2


def test_a_run_brings_its_own_network(placed: Path, tmp_path: Path):
    """Its configuration stands beside the checkpoint; a file with a network of its own is taken as it is."""
    tiny = build_tiny()

    def extras(folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(to_yaml(tiny.config), encoding="utf-8")
        tiny.tokenizer.save_pretrained(folder / TOKENIZER_DIR)

    tensors = {"model": tiny.model.state_dict()}
    CheckpointStore(tmp_path / "run" / "checkpoints").save(3, tensors=tensors, state={}, extras=extras)
    config = evaluation_config(benchmark_file("pas20"), FAST, weights=tmp_path / "run")
    assert config.model == tiny.config.model and list(config.eval.sets) == ["pas20"] and config.infer_mode == "skip"
    assert load_for_evaluation(config, tmp_path / "run").config.eval.batch_size == 2
    whole = tiny_yaml(tmp_path, {"image": {"size": 96}})
    assert evaluation_config(whole, weights=tmp_path / "run").image.size == 96
    over = evaluation_config(benchmark_file("pas20"), ["model.preset=mvplm-tiny"], weights=tmp_path / "run")
    assert over.model != tiny.config.model


def test_a_suite_keeps_what_is_done_and_tells_what_is_missing(
    placed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    suite = tmp_path / "small.yaml"
    suite.write_text("title: small\nbenchmarks: [pas20, refcoco, odinw]\ntables: [words, res]\n")
    (placed / "odinw" / "Raccoon").rename(placed / "odinw" / "raccoon_elsewhere")
    order = ["evaluate", f"--suite={suite}", "--weights", TINY, "--out", str(tmp_path / "out"), *FAST]
    assert main([*order, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    assert "pas20: to do, 1 records" in plan and not (tmp_path / "out").exists()
    assert re.search(r"odinw_raccoon: data not found: .*Raccoon", plan)
    try:
        assert main(order) == 0
        files = {name: tmp_path / "out" / name / "metrics.json" for name in ("pas20", "refcoco", "odinw")}
        times = {name: file.stat().st_mtime_ns for name, file in files.items()}
        text = (tmp_path / "out" / "tables.md").read_text()
        assert "NOT THE SAME PROTOCOL" in text and NOT_MEASURED in text and "| MVP-LM" in text
        tables = json.loads((tmp_path / "out" / "tables.json").read_text())
        assert list(tables["data not found"]) == ["odinw"]
        assert main(order) == 0
        assert {name: file.stat().st_mtime_ns for name, file in files.items()} == times
        files["refcoco"].with_name("suite.json").unlink()
        capsys.readouterr()
        assert main([*order, "--dry-run"]) == 0
        plan = capsys.readouterr().out
        assert "pas20: finished" in plan and "refcoco_val: to do" in plan
        assert main([*order, "--dry-run", "post.top_k=7"]) == 0
        assert "finished" not in capsys.readouterr().out
    finally:
        (placed / "odinw" / "raccoon_elsewhere").rename(placed / "odinw" / "Raccoon")


def test_wrong_suites_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["evaluate", "--suite", "list"]) == 0
    assert "paper" in capsys.readouterr().out
    for content, message in (("benchmarks: []", "list of benchmarks"), ("benches: [a]", "benches does not fit")):
        (tmp_path / "s.yaml").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_suite(tmp_path / "s.yaml")
    assert main(["evaluate", "--suite", "papre", "--weights", TINY, "--dry-run"]) == 2
    assert "did you mean 'paper'" in capsys.readouterr().err
    assert main(["evaluate", "--suite", "paper", "--weights", TINY]) == 2


def test_nothing_is_hidden_where_there_are_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MVPLM_DATASETS", str(tmp_path))
    plans = plan_suite(load_suite("paper"), weights=TINY, out=tmp_path / "out")
    assert len(plans) == 9 and not any(plan.config.eval.sets for plan in plans)
    assert all(str(tmp_path) in place for plan in plans for place in plan.missing.values())


def result(protocol: str, **metrics: float) -> dict:
    return {"metrics": metrics, "protocol": {"res_protocol": protocol, "synonyms": "first"}}


def test_results_of_two_protocols_stand_in_two_tables():
    own = {"refcoco": result("merged", **{"refcoco_val/all/cIoU": 50.0})}
    (one,) = build_tables(["res"], own, ours="ours")
    assert one["rows"][-1]["values"] == [50.0] + [NOT_MEASURED] * 7 and len(one["notes"]) == 1
    own["refcocog"] = result("per_sentence", **{"refcocog_val/all/cIoU": 40.0})
    first, second = build_tables(["res"], own, ours="ours")
    assert first["columns"][:3] == ["RefCOCO val", "RefCOCO testA", "RefCOCO testB"]
    assert second["columns"] == ["RefCOCOg val", "RefCOCOg test"] and second["rows"][-1]["values"][0] == 40.0
    assert "NOT THE SAME PROTOCOL" in second["notes"][-1] and "PROTOCOL" not in " ".join(first["notes"])
    assert "| 40.0" in markdown([second])


def test_the_columns_of_the_tables_are_keys_of_the_benchmarks():
    for name, table in published().items():
        for column in table["columns"]:
            sets = load_config(benchmark_file(column["benchmark"])).eval.sets
            prefixes = {entry.prefix for entry in sets.values()} | {"lvis", "lvis_rare"}
            assert any(column["metric"].startswith(f"{prefix}/") for prefix in prefixes), column
        assert all(len(row["values"]) == len(table["columns"]) and row["source"] for row in table["rows"]), name


def test_the_page_has_a_row_for_every_file_and_the_numbers_of_the_json():
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    rows = {line.split("`")[1]: line.split(" | ") for line in page.splitlines() if line.startswith("| `")}
    for name in list_benchmarks():
        config, cells = load_config(benchmark_file(name)), rows[name]
        assert all(f"`{entry.dataset}`" in cells[2] for entry in config.eval.sets.values())
        assert cells[-1].strip(" |") == "not measured"
        told: list[str] = []
        for table in published().values():
            places = [place for place, column in enumerate(table["columns"]) if column["benchmark"] == name]
            for row in table["rows"]:
                values = [row["values"][place] for place in places if row["values"][place] is not None]
                if values:
                    told.append(" / ".join(f"{value:.1f}" for value in values))
                    assert re.search(rf"{re.escape(row['system'])}( \(REC\))? {told[-1]}(;|$)", cells[5]), (name, row)
        assert sorted(re.findall(r"\d+\.\d", cells[5])) == sorted(re.findall(r"\d+\.\d", " ".join(told)))
