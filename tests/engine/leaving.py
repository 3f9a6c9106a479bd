"""For two processes: a command that trains, and what is left of the connections when it has ended.

Arguments: "tool" (``tools/train_net.py``) or "mvplm"; a config file; how training ends: a signal, "done" or "error".
"""

import runpy
import sys
from types import SimpleNamespace

from oracles.launching import ROOT
from torch import distributed

import mvplm.runs
from mvplm.cli import main
from mvplm.engine import join_processes


def run_training(config: object, *, resume: bool) -> SimpleNamespace:
    """Joins the others, and ends as asked."""
    join_processes("cpu")
    assert distributed.is_initialized()
    if END == "error":
        raise ValueError("broken")
    return SimpleNamespace(interrupted=None if END == "done" else END, step=1, seconds=1.0)


if __name__ == "__main__":
    command, config_file, END = sys.argv[1:]
    mvplm.runs.run_training = run_training
    if command == "tool":
        code = runpy.run_path(str(ROOT / "tools" / "train_net.py"))["main"](["--config-file", config_file])
    else:
        code = main(["train", "--config-file", config_file])
    assert code == {"done": 0, "SIGTERM": 0, "SIGINT": 130, "error": 2}[END]
    assert distributed.is_initialized() == (END == "error")
