"""For processes under DeepSpeed on CPUs: runs of the plain toy. Arguments: ``directory:stop_at``, as many as wanted."""

import importlib
import sys
from pathlib import Path

import torch
from engine.plain_toy import Stop, Weights, make_trainer
from oracles.launching import leave

from mvplm.engine import CheckpointStore, join_processes

BAD_STEP = 4


class BadOnce(Weights):
    """The loss of one step is not a number, on every process."""

    def __init__(self) -> None:
        self.trainer = None

    def total(self, losses):
        total = super().total(losses)
        return total * float("nan") if self.trainer.step == BAD_STEP else total


def run(directory: Path, *, stop_at: int = 0) -> int:
    """As of ``plain_toy``, with a step that must be skipped; returns the number of skipped ones."""
    trainer = make_trainer(directory, hooks=[Stop(stop_at)])
    trainer.weights = BadOnce()
    trainer.weights.trainer = trainer
    return trainer.train(resume_from=CheckpointStore(directory).latest()).skipped


if __name__ == "__main__":
    # Without it DeepSpeed compiles a kernel for minutes; gloo serves as well.
    importlib.import_module("deepspeed.comm.torch").build_shm_op = lambda: None
    torch.set_num_threads(1)
    join_processes("cpu")
    for task in sys.argv[1:]:
        name, stop_at = task.rsplit(":", 1)
        assert run(Path(name), stop_at=int(stop_at)) == 1
    leave()
