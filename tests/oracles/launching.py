"""Starting several processes of a script that train together on CPUs."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 300


def environment(**more: str) -> dict[str, str]:
    """That of a process on one thread which finds the package and the tests."""
    places = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": places, "ACCELERATE_USE_CPU": "true", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def leave() -> NoReturn:
    """End a process that has done its work.

    Without the interpreter's own end, in which a thread of torch that still runs now and then aborts the process.
    """
    from mvplm.engine import leave_processes

    leave_processes()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def run_together(script: Path, *arguments: str, processes: int = 2) -> None:
    """Run a script once per process and wait; a failure of any of them fails with what it wrote."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(processes)}
    started = [
        subprocess.Popen(
            [sys.executable, str(script), *arguments],
            env=environment(**shared, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(processes)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        texts = [process.communicate(timeout=TIMEOUT)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    failed = [text for process, text in zip(started, texts, strict=True) if process.returncode]
    assert not failed, "\n".join(failed)
