"""The benchmark of panoptic quality: it runs, agrees with the naive loops, and its maps are as it says."""

import json
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_all_three_take_turns_and_agree(tool, tmp_path):
    file = tmp_path / "rows.json"
    assert tool.main(["panoptic_quality", "--quick", "--json", str(file)]) == 0
    rows = {row["name"]: row for row in json.loads(file.read_text())}
    assert rows["largest difference"]["ok"] is True
    for who in ("naive", "naive, sorted codes"):
        ratio = rows[f"{who}: all maps"]["value"] / rows["mvplm: all maps"]["value"]
        assert rows[f"times faster than {who}"]["value"] == pytest.approx(ratio)


def test_the_drawn_maps(tool):
    module = tool.load(TOOLS / "benchmarks" / "panoptic_quality.py")
    samples = list(module.draw_samples(6, seed=1))
    counts = [len(sample["gt_segments"]) for sample in samples]
    assert all(sample["gt_map"].shape == (480, 640) for sample in samples) and 6 <= np.mean(counts) <= 15
    assert any((sample["gt_map"] == 0).any() for sample in samples)


def test_no_maps_is_an_error(tool, capsys):
    assert tool.main(["panoptic_quality", "--maps", "0"]) == 2
    assert "--maps must be at least 1" in capsys.readouterr().err
