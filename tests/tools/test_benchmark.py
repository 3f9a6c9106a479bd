"""The frame of the benchmarks and the one of deformable attention."""

import json
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def measuring(tool):
    return tool.load(TOOLS / "measuring.py")


@pytest.mark.parametrize(
    ("value", "bar", "ok"),
    [(15.0, ">= 15", True), (14.9, ">= 15", False), (0.5, "<= 0.5", True), (0.6, "<= 0.5", False)]
    + [(1.0, "", None), (None, ">= 15", None)],
)
def test_a_bar_is_reached_or_not(measuring, value, bar, ok):
    assert measuring.Row("a", value, "x", bar).ok is ok


def test_a_bar_without_a_sign_is_an_error(measuring):
    with pytest.raises(ValueError, match="'>= number' or '<= number', got '15'"):
        _ = measuring.Row("a", 1.0, "x", "15").ok


def test_contenders_take_turns_and_warm_up(measuring):
    turns = []
    seconds = measuring.interleave({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=2)
    assert turns == list("ababab") and list(seconds) == ["a", "b"] and min(seconds.values()) >= 0


def test_every_command_has_help_and_an_example(tool, capsys):
    names = [file.stem for file in sorted(tool.COMMANDS.glob("*.py"))]
    assert "deform_attn" in names
    for name in names:
        with pytest.raises(SystemExit) as ended:
            tool.main([name, "--help"])
        assert ended.value.code == 0
        assert f"Example: python tools/benchmark.py {name}" in capsys.readouterr().out


def test_an_unknown_command_names_the_others(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(["deform"])
    assert ended.value.code == 2 and "deform_attn" in capsys.readouterr().err


def test_wrong_input_ends_with_2(tool, capsys):
    assert tool.main(["answers", "--model", "mvplm-tiny-scene"]) == 2
    assert "mvplm-tiny-scenes" in capsys.readouterr().err


def test_absent_photos_end_with_2(tool, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MVPLM_DATASETS", str(tmp_path))
    assert tool.main(["loader", "--quick"]) == 2
    assert "MVPLM_DATASETS" in capsys.readouterr().err


def test_the_loader_is_measured_alone_and_in_training(tool):
    scenes = {"dataset": "scenes/train", "options": {"num": 20, "size": 96}, "task": "panoptic"}
    loader = tool.load(tool.COMMANDS / "loader.py")
    rows = loader.compare({"drawn": scenes}, size=64, batch=1, workers=0, batches=2, steps=1)
    found = {row.name: row for row in rows}
    assert found["drawn: loader alone"].value > 0 and found["training step"].value > 0
    assert 0 < found["waiting for batches"].value < 1 and found["waiting for batches"].bar == "<= 0.05"


def test_deformable_attention_is_measured_in_table_file_and_picture(tool, tmp_path, capsys):
    files = ["--json", str(tmp_path / "new" / "rows.json"), "--plot", str(tmp_path / "rows.png")]
    assert tool.main(["deform_attn", "--quick", *files]) == 0
    rows = json.loads((tmp_path / "new" / "rows.json").read_text())
    assert all(list(row) == ["name", "value", "unit", "bar", "ok", "detail"] for row in rows)
    found = {row["name"]: row for row in rows}
    assert found["largest difference"]["ok"] is True
    ratio = found["forward: transformers"]["value"] / found["forward: mvplm"]["value"]
    assert found["forward: times faster"]["value"] == pytest.approx(ratio)
    assert (tmp_path / "rows.png").stat().st_size > 1000
    assert "deform_attn (quick)" in capsys.readouterr().out


def test_a_missed_bar_ends_with_1(tool, measuring, monkeypatch):
    missed = [measuring.Row("slow", 2.0, "x", ">= 3")]
    original = tool.load

    def load(file: Path):
        module = original(file)
        if file.stem == "answers":
            monkeypatch.setattr(module, "measure", lambda _: missed)
        return module

    monkeypatch.setattr(tool, "load", load)
    assert tool.main(["answers"]) == 1


def test_the_file_of_the_index_benchmark_reads_as_objects365(tool, tmp_path):
    from mvplm.data.catalog import get_dataset

    (tmp_path / "objects365" / "images" / "train").mkdir(parents=True)
    file = tmp_path / "objects365" / "zhiyuan_objv2_train.json"
    tool.load(tool.COMMANDS / "data_index.py").write_objects365(file, images=20, boxes=90)
    records = get_dataset("objects365_v2_train", root=tmp_path)
    assert len(records) == 20 and sum(len(record.annotations) for record in records) == 90
    assert len(records.vocabulary) == 365
