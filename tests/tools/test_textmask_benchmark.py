"""The benchmark of masks as text: it runs, and no broken answer gives an empty mask without a reason."""

import importlib.util
import json
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_it_runs(tmp_path):
    spec = importlib.util.spec_from_file_location("benchmark", TOOLS / "benchmark.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    file = tmp_path / "rows.json"
    assert tool.main(["textmask", "--quick", "--json", str(file)]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert rows["fuzz: empty masks without a reason"]["value"] == 0
    for bar in ("S1 against loops", "S2 against loops", "S3 against loops", "S4 to 480x640"):
        assert rows[bar]["value"] > 0
    assert {"S5 damaged isd_rrle", "S6 step bsd_bricks"} <= set(rows)
