"""SA1B-ORS built by stand-ins, killed without warning and started again: the same files, and do counts add up?

Example: python tools/benchmark.py ors --images 200 --kills 3
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Row

_APART = ("timings.json", ".lock")
_RUN = """
import os, signal, sys
from mvplm.data.journal import Journal
from mvplm.data.ors import BuildSettings, build_ors
from mvplm.data.ors.standins import STANDINS, make_standin

shard, out, workers, lines = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
append, left = Journal.append, [lines]

def append_and_die(journal, entries):
    if left[0] == 0:
        os.write(journal._file, b'{"key": "half a li')
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    append(journal, entries)

if __name__ == "__main__":
    Journal.append = append_and_die
    callables = {role: make_standin(role) for role in STANDINS}
    build_ors([shard], callables, out=out, settings=BuildSettings(workers=workers))
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much there is to build and how often it is interrupted."""
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of a third run, compared with the others")
    parser.add_argument("--seed", type=int, default=0)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Files that differ between a run, a killed one and one with several workers; sums that do not add up."""
    from mvplm.data.ors.drawn import write_drawn_shard
    from mvplm.data.ors.pool import STEPS

    images, kills = (20, 1) if arguments.quick else (arguments.images, arguments.kills)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        shard = write_drawn_shard(place / "sa_000000", num=images, seed=arguments.seed)
        script = place / "run.py"
        script.write_text(_RUN, encoding="utf-8")
        plain, seconds = _run(script, shard, out=place / "plain")
        total = images * len(STEPS)
        for kill in range(kills):
            _run(script, shard, out=place / "killed", lines=total // (kills + 1) + 7 * kill)
        killed, _ = _run(script, shard, out=place / "killed")
        shared, shared_seconds = _run(script, shard, out=place / "shared", workers=arguments.workers)
        summary = json.loads(plain["summary.json"])
    made = {part: numbers["out"] for part, numbers in summary["export"].items()}
    rejected = {name: sum(numbers["rejected"].values()) for name, numbers in summary["steps"].items()}
    return [
        Row("files that differ after kills", _differ(plain, killed), "", "<= 0", f"{images} images, SIGKILL {kills} x"),
        Row("files that differ with workers", _differ(plain, shared), "", "<= 0", f"{arguments.workers} workers"),
        Row("sums that do not add up", _wrong_sums(summary), "", "<= 0", f"{len(STEPS)} steps and both exports"),
        Row("files", len(plain), "", detail=f"{sum(map(len, plain.values())) / 2**20:.1f} MiB"),
        Row("category samples", made["cors"], ""),
        Row("descriptive samples", made["ders"], "", detail=f"share {summary['descriptive_share']}"),
        Row("rejects", sum(rejected.values()), "", detail=", ".join(f"{k} {v}" for k, v in rejected.items() if v)),
        Row("seconds, uninterrupted", seconds, "s", detail="start of Python and imports included"),
        Row("seconds with workers", shared_seconds, "s", detail=f"{arguments.workers} workers, {os.cpu_count()} cores"),
    ]


def _run(script: Path, shard: Path, *, out: Path, workers: int = 1, lines: int = -1) -> tuple[dict[str, bytes], float]:
    """Files of a build and the seconds it took; with ``lines`` it is killed when so many more are written."""
    started = time.perf_counter()
    command = [sys.executable, str(script), str(shard), str(out), str(workers), str(lines)]
    done = subprocess.run(command, capture_output=True, check=False, env=_with_path())
    expected = 0 if lines < 0 else -signal.SIGKILL
    if done.returncode != expected:
        raise ValueError(f"a run ended with {done.returncode}, expected {expected}: {done.stderr.decode()[-500:]}")
    paths = (path for path in out.rglob("*") if path.is_file() and path.name not in _APART)
    return {str(path.relative_to(out)): path.read_bytes() for path in paths}, time.perf_counter() - started


def _with_path() -> dict[str, str]:
    """The environment in which the package of this checkout is found."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def _differ(first: dict[str, bytes], second: dict[str, bytes]) -> int:
    return sum(first.get(name) != second.get(name) for name in {*first, *second})


def _wrong_sums(summary: dict[str, dict]) -> int:
    """Steps whose input is not what is kept and rejected, or not what the step before gave."""
    from mvplm.data.ors.pool import STEPS

    steps = summary["steps"]
    counted = {**steps, **{f"export {part}": numbers for part, numbers in summary["export"].items()}}
    wrong = sum(one["in"] != one["kept"] + sum(one["rejected"].values()) for one in counted.values())
    follow = [step for name, step in STEPS.items() if step.source and name != "tag"]
    wrong += sum(steps[step.name]["in"] != steps[step.source]["out"] for step in follow)
    return wrong + sum(summary["export"][part]["in"] != steps[part]["out"] for part in summary["export"])
