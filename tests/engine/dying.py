"""For torchrun: a run whose second process fails at step 7, and after the restart at step 9. Argument: a directory."""

import sys
from pathlib import Path

import torch
from engine.plain_toy import make_trainer

from mvplm.engine import CheckpointStore, Hook, join_processes, rank_and_world, started_again


class Fail(Hook):
    def after_step(self, trainer) -> None:
        if rank_and_world()[0] == 1 and trainer.step == (9 if started_again() else 7):
            raise RuntimeError(f"the second process broke at step {trainer.step}, started at {trainer.start_step}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    join_processes("cpu")
    directory = Path(sys.argv[1])
    latest = CheckpointStore(directory).latest() if started_again() else None
    make_trainer(directory, hooks=[Fail()]).train(resume_from=latest)
