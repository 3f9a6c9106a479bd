"""The benchmarks of masks as text: they run, and no broken answer gives an empty mask without a reason."""

import json


def run(tool, tmp_path, *arguments):
    file = tmp_path / "rows.json"
    assert tool.main([*arguments, "--quick", "--json", str(file)]) == 0
    return {row["name"]: row for row in json.loads(file.read_text())}


def test_speed(tool, tmp_path):
    rows = run(tool, tmp_path, "textmask")
    for bar in ("S1 against loops", "S2 against loops", "S3 against loops", "S4 to 480x640"):
        assert rows[bar]["value"] > 0
    assert {"S5 damaged isd_rrle", "S6 step bsd_bricks"} <= set(rows)


def test_constrained_answers(tool, tmp_path):
    rows = run(tool, tmp_path, "textmask_generate")
    exact = [row["value"] for name, row in rows.items() if name.endswith("exact answers")]
    assert exact == [100] * 7 and rows["jumps: same tokens as generate"]["value"] == 100
    assert 0 < rows["bsd_bricks: decided by the model"]["value"] <= 60


def test_broken_answers(tool, tmp_path, shared_data):
    rows = run(tool, tmp_path, "textmask_fuzz", "--tokenizer", str(shared_data / "gpt2_bpe"))
    assert rows["empty masks without a reason"]["value"] == 0
    assert rows["damaged ids"]["value"] > 0 and rows["pieces in any order"]["value"] > 0
