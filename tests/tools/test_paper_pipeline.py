"""The pipeline at tiny scale: every stage leaves its output, once; a stopped stage is not lost."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "paper_pipeline.py"


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch):
    spec = importlib.util.spec_from_file_location("paper_pipeline", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "paper_pipeline", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def done(tool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every stage only notes that it was asked for; an evaluation writes numbers of its own."""
    notes: list[str] = []

    def evaluate(plan, name: str) -> None:
        notes.append(f"evaluate {name}")
        place = tool.RUNS.index(name)
        folder = plan.out / "evaluation" / name
        folder.mkdir(parents=True)
        metrics = {metric: 10.0 * place + i for i, metric in enumerate(tool.COLUMNS.values())}
        (folder / "metrics.json").write_text(json.dumps({"metrics": metrics}))

    monkeypatch.setattr(tool, "label", lambda lot, out: notes.append(f"label {Path(out).name} {lot['seed']}"))
    monkeypatch.setattr(tool, "refine", lambda out: notes.append(f"refine {Path(out).name}"))
    monkeypatch.setattr(tool, "train", lambda config: notes.append(f"train {Path(config.train.output).name}"))
    monkeypatch.setattr(tool, "evaluate", evaluate)
    return notes


def test_a_trial_from_captions_to_tables(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    tables = {"one": (tool.TABLES["Table 6: mix of data"][2],)}
    monkeypatch.setattr(tool, "TABLES", tables)
    monkeypatch.setattr(tool, "RUNS", ("table6_c_r_o_g",))
    given = ["--quick", "--out", str(tmp_path / "out")]
    assert tool.main(given) == 0
    out = tmp_path / "out"
    for lot in ("coco", "objects365", "goldg"):
        assert len((out / "captions" / lot / "refined.jsonl").read_text().splitlines()) == tool.QUICK_PICTURES
    for run in ("stage1", "table6_c_r_o_g"):
        assert (out / run / "checkpoints" / "step_000002" / "model.safetensors").is_file()
    report = json.loads((out / "report.json").read_text())
    assert set(report["tables"]["one"][0]["ours"]) == {"cIoU", "PQ", "mIoU"}
    assert None not in report["tables"]["one"][0]["ours"].values()
    assert report["captions"]["coco"]["captions"] > report["captions"]["coco"]["kept"]
    assert all(entry["complete"] for entry in report["stages"].values())

    files = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and "report" not in path.name}
    capsys.readouterr()
    assert tool.main(given) == 0
    assert files == {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and "report" not in p.name}
    assert capsys.readouterr().out.count(": complete") == 9


@pytest.mark.parametrize(("name", "learns"), [("stage1", {"connector"}), ("table7_visual_only", None)])
def test_what_learns(tool, tmp_path: Path, name: str, learns: set[str] | None):
    from mvplm.build import build_model, build_tokenizer
    from mvplm.engine import freeze

    config = tool.Plan(tmp_path, quick=True).load(name)
    model = build_model(config, build_tokenizer(config))
    freeze(model, config.train.freeze)
    parts = {key.split(".")[0] for key, _ in model.named_parameters()}
    learning = {key.split(".")[0] for key, value in model.named_parameters() if value.requires_grad}
    assert learning == (learns or parts - {"encoder"})
    assert config.train.precision == "fp32"


def test_the_rows_differ_in_what_they_say(tool, tmp_path: Path):
    configs = {name: tool.Plan(tmp_path).load(name) for name in tool.RUNS}
    mixes = {name: {key: s.ratio for key, s in config.data.sources.items()} for name, config in configs.items()}
    assert mixes["table6_c_r"] == mixes["table7_none"] == {"panoptic": 1, "referring": 1}
    assert mixes["table6_c_r_o"] == {"panoptic": 2, "referring": 2, "detection": 1}
    assert mixes["table6_c_r_o_g"] == {"panoptic": 2, "referring": 2, "detection": 1, "grounding": 1}
    kinds = {name: config.response.kind for name, config in configs.items() if name.startswith("table7")}
    assert kinds == {
        "table7_none": "none",
        "table7_existing_objects": "existing_objects",
        "table7_visual_only": "caption",
    }
    assert configs["table7_visual_only"].model.query.fusion == "visual_only"
    assert len({(config.train.steps, config.train.seed, config.image.size) for config in configs.values()}) == 1


def test_every_stage_once_and_every_row(tool, done: list[str], tmp_path: Path):
    assert tool.main(["--out", str(tmp_path / "out")]) == 0
    assert done[:7] == [
        *("label coco 11", "refine coco", "label objects365 12", "refine objects365", "label goldg 13", "refine goldg"),
        "train stage1",
    ]
    assert done[7:] == [f"{what} {run}" for run in tool.RUNS for what in ("train", "evaluate")]
    rows = [
        row for rows in json.loads((tmp_path / "out" / "report.json").read_text())["tables"].values() for row in rows
    ]
    assert [row["row"] for row in rows] == [
        *("C, R", "C, R, O", "C, R, O, G"),
        *("nothing", "existing objects", "caption", "caption, visual features as queries"),
    ]
    assert rows[0]["ours"] == rows[5]["ours"] == {"cIoU": 0.0, "PQ": 1.0, "mIoU": 2.0}
    assert rows[6]["ours"]["PQ"] == 51.0
    assert "| C, R, O | 10.0 | 11.0 | 12.0 | 81.8 | 55.8 | 65.9 |" in (tmp_path / "out" / "report.md").read_text()
    count = len(done)
    assert tool.main(["--out", str(tmp_path / "out")]) == 0
    assert len(done) == count


def test_a_stopped_training_goes_on(tool, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def run_training(config):
        asked.append((Path(config.train.output).name, config.train.auto_resume))
        return SimpleNamespace(interrupted="SIGINT" if len(asked) == 3 else None)

    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "paper_pipeline", tool)
    for name in ("label", "refine", "evaluate"):
        monkeypatch.setattr(tool, name, lambda *rest: None)
    monkeypatch.setattr("mvplm.runs.run_training", run_training)
    monkeypatch.setattr(tool, "make_report", lambda plan, ledger: {})
    monkeypatch.setattr(tool, "to_markdown", lambda report: "")
    out = ["--out", str(tmp_path / "out")]
    assert tool.main(out) == 130
    assert asked == [("stage1", True), ("table6_c_r", True), ("table6_c_r_o", True)]
    assert tool.main(out) == 0
    assert asked[3] == ("table6_c_r_o", True) and len(asked) == 3 + len(tool.RUNS) - 1


def test_other_settings_need_another_folder(tool, done: list[str], tmp_path: Path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert tool.main(out) == 0
    assert tool.main([*out, "train.seed=1"]) == 2
    assert "stage1 was begun with other settings" in capsys.readouterr().err
