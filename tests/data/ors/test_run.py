"""The pipeline as a whole: counters, interruptions, workers, missing callables, leaks, tar files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from mvplm.data.datasets.base import picture_key
from mvplm.data.journal import Journal, read_lines
from mvplm.data.ors import BuildSettings, OrsConfig, build_ors
from mvplm.data.ors.callables import identity
from mvplm.data.ors.pool import STEPS


class Stopped(BaseException):
    """What stands for a kill: nothing in the pipeline catches it."""


def samples(out: Path, part: str) -> list[dict]:
    return [line for path in sorted((out / part).glob("*.jsonl")) for line in read_lines(path)]


def test_counters_add_up(built: Path):
    summary = json.loads((built / "summary.json").read_text())
    steps = summary["steps"]
    assert list(steps) == list(STEPS)
    for name, numbers in {**steps, **summary["export"]}.items():
        assert numbers["in"] == numbers["kept"] + sum(numbers["rejected"].values()), name
    for name, step in STEPS.items():
        if step.source and name != "tag":
            assert steps[name]["in"] == steps[step.source]["out"], name
        assert steps[name]["images"] == 20
    assert steps["read"]["rejected"] == {"bad_picture": 1, "no_annotations": 1}
    assert steps["read"]["out"] == 18
    rejects = list(read_lines(built / "rejects.jsonl"))
    assert len(rejects) == sum(sum(numbers["rejected"].values()) for numbers in steps.values())
    assert {(one["step"], one["name"]) for one in rejects} >= {("read", "sa_7"), ("read", "sa_11")}
    for step in ("tag", "filter", "ground", "suppress", "segment", "deduplicate", "verify", "texts", "reground"):
        assert steps[step]["rejected"], f"the stand-ins give {step} nothing to reject"
    for part in ("cors", "ders"):
        assert len(samples(built, part)) == summary["export"][part]["out"] > 5
    made = [summary["export"][part]["out"] for part in ("cors", "ders")]
    assert summary["descriptive_share"] == round(made[1] / sum(made), 4)


def test_samples_have_the_form_of_the_benchmark(built: Path):
    for part, kinds in (("cors", {"category_single", "category_multi"}), ("ders", {"descriptive"})):
        found = samples(built, part)
        assert {sample["kind"] for sample in found} == kinds
        assert len({sample["id"] for sample in found}) == len(found)
        for sample in found:
            keys = {"id", "image", "height", "width", "instruction", "kind", "ood", "instances", "source", "provenance"}
            assert keys <= set(sample) <= keys | {"caption"}
            assert sample["provenance"]["config_hash"] == OrsConfig().hash
            assert list(sample["provenance"]["steps"])[-1] == part
            for one in sample["instances"]:
                assert one["mask_rle"]["size"] == [sample["height"], sample["width"]]
                x1, y1, x2, y2 = one["bbox"]
                assert 0 <= x1 < x2 <= sample["width"] and 0 <= y1 < y2 <= sample["height"]


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int, *, torn: bool) -> None:
    """Let the ``count``-th line be the last that is written, the next one at most in half."""
    real, seen = Journal.append, [0]

    def append(journal: Journal, entries) -> None:
        seen[0] += 1
        if seen[0] > count:
            if torn:
                with journal.path.open("ab") as file:
                    file.write(json.dumps(entries[0]).encode()[:25])
            raise Stopped
        real(journal, entries)

    monkeypatch.setattr(Journal, "append", append)


@pytest.mark.parametrize("torn", [False, True])
def test_stopped_after_any_line_the_result_is_the_same(shard, built, callables, files, tmp_path, monkeypatch, torn):
    """Stops move through the run: after 1 line, 2 more, 3 more ... until nothing is left to stop."""
    stops, step = 0, 0
    while True:
        step += 1
        with monkeypatch.context() as patched:
            stop_after(patched, step, torn=torn)
            try:
                build_ors([shard], callables(), out=tmp_path)
                break
            except Stopped:
                stops += 1
    assert stops > 20
    assert files(tmp_path) == files(built)


def test_places_inside_one_step(shard, built, callables, files, tmp_path, monkeypatch):
    (step,) = (built / "steps").glob("*-verify-*")
    for count in range(0, 20, 4):
        out = tmp_path / str(count)
        shutil.copytree(built, out)
        path = out / step.relative_to(built) / "sa_000000.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:count]) + lines[count][: count * 7])
        build_ors([shard], callables(), out=out)
        assert files(out) == files(built), count
        shutil.rmtree(out)


def test_several_workers(shard, built, callables, files, tmp_path):
    assert build_ors([shard], callables(), out=tmp_path, settings=BuildSettings(workers=3)).complete
    assert files(tmp_path) == files(built)


_KILLED = """
import os, signal, sys
from mvplm.data.journal import Journal
from mvplm.data.ors import build_ors
from mvplm.data.ors.standins import STANDINS, make_standin

real, left = Journal.append, [int(sys.argv[3])]

def append(journal, entries):
    if not left[0]:
        os.write(journal._file, b'{"key": "half a li')
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    real(journal, entries)

Journal.append = append
build_ors([sys.argv[1]], {role: make_standin(role) for role in STANDINS}, out=sys.argv[2])
"""


def test_killed_for_real(shard, built, callables, files, tmp_path):
    command = [sys.executable, "-c", _KILLED, str(shard), str(tmp_path), "33"]
    done = subprocess.run(command, capture_output=True, timeout=120, env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert build_ors([shard], callables(), out=tmp_path).complete
    assert files(tmp_path) == files(built)


def test_ctrl_c_leaves_whole_lines(shard, built, callables, files, tmp_path):
    asked = callables()
    real, seen = asked["verifier"], [0]

    class Interrupted:
        name, version = real.name, real.version

        def __call__(self, *arguments, **named):
            seen[0] += 1
            if seen[0] == 4:
                raise KeyboardInterrupt
            return real(*arguments, **named)

    with pytest.raises(KeyboardInterrupt):
        build_ors([shard], {**asked, "verifier": Interrupted()}, out=tmp_path)
    assert all(path.read_bytes().endswith(b"\n") for path in tmp_path.rglob("*.jsonl") if path.stat().st_size)
    assert build_ors([shard], callables(), out=tmp_path).complete
    assert files(tmp_path) == files(built)


@pytest.mark.parametrize(
    ("role", "step"), [("tagger", "tag"), ("segmenter", "segment"), ("verifier", "verify"), ("describer", "describe")]
)
def test_a_missing_callable_stops_at_its_step(shard, built, callables, files, tmp_path, role, step):
    some = callables()
    del some[role]
    summary = build_ors([shard], some, out=tmp_path)
    assert (summary.stopped_at, summary.missing) == (step, (role,)) and not summary.complete
    done = list(json.loads((tmp_path / "summary.json").read_text())["steps"])
    assert done == list(STEPS)[: list(STEPS).index(step)]
    assert (tmp_path / "cors").exists() is (role == "describer")
    assert build_ors([shard], callables(), out=tmp_path).complete
    assert files(tmp_path) == files(built)


def test_the_captioner_can_be_left_out(shard, callables, tmp_path):
    some = callables()
    del some["captioner"]
    assert build_ors([shard], some, out=tmp_path).complete
    assert all("caption" not in sample for sample in samples(tmp_path, "cors"))


def test_another_version_is_asked_anew_and_what_was_before_is_kept(shard, built, callables, files, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    some, asked = callables(), []
    some["tagger"].__class__ = type("Watched", (type(some["tagger"]),), {"__call__": lambda *_: asked.append(1) or []})
    some["tagger"].name = callables()["tagger"].name
    some["describer"].version = "2"
    build_ors([shard], some, out=tmp_path / "out")
    assert not asked, "tags were there already"
    steps = {path.name for path in (tmp_path / "out" / "steps").iterdir()}
    assert len([name for name in steps if "-describe-" in name]) == 2
    assert len([name for name in steps if "-verify-" in name]) == 1
    assert build_ors([shard], callables(), out=tmp_path / "out").complete
    assert files(built).items() <= files(tmp_path / "out").items()


def test_other_thresholds_are_other_lines(shard, built, callables, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    summary = build_ors([shard], callables(), out=tmp_path / "out", config=OrsConfig(ground_score=0.9))
    before = json.loads((built / "summary.json").read_text())
    assert summary.numbers["steps"]["ground"]["out"] < before["steps"]["ground"]["out"]
    assert summary.numbers["config_hash"] != before["config_hash"]


def test_pictures_of_evaluation_sets_are_left_out(shard, built, callables, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    shown = samples(built, "cors")[0]["image"]
    held_out = {"bench": {picture_key(shown)}, "other": {"sa_99999"}}
    summary = build_ors([shard], callables(), out=tmp_path / "out", held_out=held_out)
    left = samples(tmp_path / "out", "cors") + samples(tmp_path / "out", "ders")
    assert shown not in {sample["image"] for sample in left}
    numbers = summary.numbers
    assert numbers["held_out"] == {"bench": 1, "other": 1}
    assert numbers["export"]["cors"]["rejected"] == {
        "leak: bench": sum(sample["image"] == shown for sample in samples(built, "cors"))
    }


def test_a_tar_file_gives_the_same_as_its_folder(shard, built, callables, files, tmp_path):
    with tarfile.open(tmp_path / "sa_000000.tar", "w") as archive:
        for path in sorted(shard.iterdir(), reverse=True):
            archive.add(path, f"./inner/{path.name}")
    build_ors([tmp_path], callables(), out=tmp_path / "out")
    assert files(tmp_path / "out") == files(built)


def test_what_cannot_be_built_is_explained(shard, built, callables, tmp_path):
    with pytest.raises(FileNotFoundError, match="no shard at"):
        build_ors([tmp_path / "nothing"], {}, out=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds neither pictures with JSON files nor tar files"):
        build_ors([tmp_path / "empty"], {}, out=tmp_path / "out")
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ValueError, match=r"bad.tar is no plain tar file"):
        build_ors([tmp_path / "bad.tar"], {}, out=tmp_path / "out")
    with pytest.raises(ValueError, match="unknown role 'tager'; did you mean 'tagger'"):
        build_ors([shard], {"tager": callables()["tagger"]}, out=tmp_path / "out")
    with pytest.raises(ValueError, match="tagger must be callable and have a name and a version"):
        build_ors([shard], {"tagger": lambda image: []}, out=tmp_path / "out")
    with pytest.raises(ValueError, match="two shards are called 'sa_000000'"):
        build_ors([shard, shard], {}, out=tmp_path / "out")
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        BuildSettings(workers=0)


def test_a_changed_shard_is_not_mixed_in(shard, built, callables, tmp_path):
    shutil.copytree(built, tmp_path / "out")
    shutil.copytree(shard, tmp_path / "sa_000000")
    (tmp_path / "sa_000000" / "sa_3.jpg").unlink()
    (tmp_path / "sa_000000" / "sa_3.json").unlink()
    with pytest.raises(ValueError, match="line 3 is not about the image that shard 'sa_000000' has there"):
        build_ors([tmp_path / "sa_000000"], callables(), out=tmp_path / "out")


def test_a_wrong_answer_names_step_and_image(shard, callables, tmp_path):
    class Small:
        name, version = "small", "1"

        def __call__(self, image, box):
            return image[:3, :3, 0] > 0

    with pytest.raises(ValueError, match=r"step 'segment', image sa_\d+: .*the segmenter's mask is \(3, 3\)"):
        build_ors([shard], {**callables(), "segmenter": Small()}, out=tmp_path)


def test_two_runs_do_not_share_a_folder(shard, callables, tmp_path):
    import fcntl

    handle = os.open(tmp_path / ".lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(ValueError, match="another process is writing samples"):
            build_ors([shard], callables(), out=tmp_path)
    finally:
        os.close(handle)


def test_identity_names_who_was_asked(callables):
    assert identity(callables(), ["tagger", "nobody"]) == {"tagger": "drawn-tagger@1-0"}
