"""``mvplm data build-ors`` and ``ors-buckets``, from the command line to the page."""

import json
import pickle
from pathlib import Path

import pytest

from mvplm.cli import main
from mvplm.data.ors.callables import ROLES
from mvplm.data.ors.drawn import write_drawn_shard


@pytest.fixture
def order(tmp_path: Path) -> list[str]:
    """A build of 6 pictures by stand-ins."""
    write_drawn_shard(tmp_path / "sa_000000", num=6)
    callables = tmp_path / "callables.yaml"
    callables.write_text("\n".join(f"{role}: {{kind: drawn}}" for role in ROLES))
    place = ["--out", str(tmp_path / "out"), "--root", str(tmp_path / "data")]
    return ["data", "build-ors", str(tmp_path / "sa_000000"), "--callables", str(callables), *place]


def test_samples_a_page_and_numbers(order: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(order) == 0
    told = capsys.readouterr()
    assert "read                6 in        6 out" in told.out
    assert "kept apart from no evaluation set: none was found" in told.err
    assert "ders: 6/6" in told.err, "progress is told"
    page = (tmp_path / "out" / "audit.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") > 6 and "refused: " in page and "descriptive" in page
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert main([*order, "--set", "workers=1"]) == 0
    assert before == {path: path.read_bytes() for path in before}, "done is done"


def test_a_missing_role_ends_with_1(order: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    callables = tmp_path / "callables.yaml"
    callables.write_text("\n".join(f"{role}: {{kind: drawn}}" for role in ROLES if role != "verifier"))
    assert main([*order, "--audit", "0"]) == 1
    assert "Stopped before step 'verify': no verifier" in capsys.readouterr().err
    assert not (tmp_path / "out" / "audit.html").exists() and not (tmp_path / "out" / "cors").exists()


def test_wrong_settings_end_with_2(order: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*order, "--set", "ground_scor=0.5"]) == 2
    assert "did you mean 'ground_score'" in capsys.readouterr().err
    assert main([*order, "--set", "fragment_iof=1.5"]) == 2
    assert "fragment_iof must lie in [0, 1]" in capsys.readouterr().err
    assert main([*order, "--against", "reasonsec_val"]) == 2
    assert "reasonseg_val" in capsys.readouterr().err


def bench(root: Path, lines: list[str]) -> None:
    """ORS-Bench of given samples, with empty files for pictures."""
    (root / "ors_bench").mkdir(parents=True)
    (root / "ors_bench" / "x.jsonl").write_text("".join(lines), encoding="utf-8")


def test_pictures_of_the_benchmark_below_the_root_are_left_out(order, tmp_path, capsys):
    assert main(order) == 0
    (cors,) = (tmp_path / "out" / "cors").glob("*.jsonl")
    lines = cors.read_text().splitlines(keepends=True)
    shown = json.loads(lines[0])["image"]
    bench(tmp_path / "data", lines[:1])
    (tmp_path / "data" / "refer" / "refcoco").mkdir(parents=True)
    refs = [{"image_id": 9, "split": "val", "ref_id": 1}]
    (tmp_path / "data" / "refer" / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    capsys.readouterr()
    assert main(order) == 0
    assert "kept apart from ors_bench, refcoco family" in capsys.readouterr().err
    assert shown not in cors.read_text()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["held_out"] == {"ors_bench": 1, "refcoco family": 1}
    assert summary["export"]["cors"]["rejected"]["leak: ors_bench"] >= 1


def test_buckets(order: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main([*order, "--audit", "0"]) == 0
    (ders,) = (tmp_path / "out" / "ders").glob("*.jsonl")
    out = tmp_path / "mine.jsonl"
    capsys.readouterr()
    training = ["--training", str(tmp_path / "out" / "cors")]
    assert main(["data", "ors-buckets", str(ders), *training, "--out", str(out)]) == 0
    count = len(ders.read_text().splitlines())
    assert f"descriptive        {count}" in capsys.readouterr().out and len(out.read_text().splitlines()) == count
    strict = ["--set", "max_area=0.01"]
    assert main(["data", "ors-buckets", str(ders), *training, "--out", str(out), *strict]) == 0
    assert "ood_area" in capsys.readouterr().out
    assert main(["data", "ors-buckets", str(ders), "--training", str(tmp_path / "sa_000000"), "--out", str(out)]) == 2
