"""mvplm label, killed without warning at random moments and started again: is every caption there, and once?

Example: python tools/benchmark.py labelling --images 500 --captioners 4 --kills 5
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from measuring import Row

_MODULE = """
import hashlib, time

def _tell(name, images):
    time.sleep(0.01 * len(images))
    return [f"{name} saw {hashlib.sha256(image.tobytes()).hexdigest()} in this picture." for image in images]
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How much there is to caption and how often it is interrupted."""
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--captioners", type=int, default=4)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Captions in the store after the last run: how many, how many twice, how many torn lines were cut on the way."""
    from mvplm.label.store import shards_of

    images, kills = (20, 2) if arguments.quick else (arguments.images, arguments.kills)
    wanted, rng = images * arguments.captioners, random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        out, command = Path(folder) / "captions", _command(Path(folder), arguments, images=images)
        torn, started, seen = 0, time.perf_counter(), []
        for kill in range(kills):
            # Anywhere in the next stretch of what is left, so that all kills meet a run at work.
            goal = _lines(out) + rng.randint(1, max(1, (wanted - _lines(out)) // (kills - kill + 1)))
            torn += _run_and_kill(command, out, goal=goal, wait=rng.random() * 0.1)
            seen.append(_lines(out))
        subprocess.run(command, check=True, capture_output=True, start_new_session=True)
        took = time.perf_counter() - started
        entries = [json.loads(line) for path in shards_of(out) for line in path.read_text().splitlines()]
    keys = Counter((entry["image_id"], entry["captioner"]) for entry in entries)
    texts = {name: {e["text"] for e in entries if e["captioner"] == name} for _, name in keys}
    how = f"{images} images x {arguments.captioners} captioners, kill -9 after {seen} captions, {took:.0f} s in all"
    rows = [
        Row("captions", len(entries), "", f">= {wanted}", how),
        Row("captions twice", sum(count - 1 for count in keys.values()), "", "<= 0"),
        Row("captions missing", wanted - len(keys), "", "<= 0"),
        Row("different texts", sum(map(len, texts.values())), "", f">= {wanted}", "each tells its picture's pixels"),
        Row("torn lines cut", torn, "", detail="half written when the process was killed"),
    ]
    return rows


def _command(folder: Path, arguments: argparse.Namespace, *, images: int) -> list[str]:
    names = [f"captioner{number}" for number in range(arguments.captioners)]
    functions = "".join(f"\ndef {name}(images):\n    return _tell({name!r}, images)\n" for name in names)
    (folder / "killed_captioners.py").write_text(_MODULE + functions, encoding="utf-8")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    devices = ", ".join(["cpu"] * arguments.processes)
    start = [sys.executable, "-c", "import sys; from mvplm.cli import main; sys.exit(main())", "label"]
    start += ["--dataset", "scenes/val", "-o", f"num={images}", "-o", "size=96", "-o", "role=caption"]
    start += ["--out", str(folder / "captions"), "--set", f"devices=[{devices}]"]
    for name in names:
        start += ["--captioner", f"{name}=killed_captioners:{name}"]
    return start


def _run_and_kill(command: list[str], out: Path, *, goal: int, wait: float) -> int:
    """Start, and kill the process when ``goal`` lines are there and ``wait`` seconds over; torn lines left behind."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while _lines(out) < goal:
        if process.poll() is not None:
            raise ValueError(f"the run ended by itself with exit code {process.returncode}")
        time.sleep(0.002)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return sum(
        not path.read_bytes().endswith(b"\n") for path in (out / "captions").glob("*.jsonl") if path.stat().st_size
    )


def _lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "captions").glob("*.jsonl"))
