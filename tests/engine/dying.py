"""For torchrun: a run whose second process fails at step 7, and after the restart at step 9. Argument: a directory."""

import os
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
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    join_processes()
    directory = Path(sys.argv[1])
    latest = CheckpointStore(directory).latest() if started_again() else None
    trainer = make_trainer(directory, hooks=[Fail()], device="auto")
    assert trainer.accelerator.num_processes == 2
    trainer.train(resume_from=latest)
