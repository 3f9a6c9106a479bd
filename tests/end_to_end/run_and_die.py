"""For a subprocess: one whole training run, then a second one that is killed without warning after a step.

Arguments: config file, directory of the whole run, directory of the killed run, step to die after.
"""

import os
import signal
import sys

from mvplm.config import load_config
from mvplm.engine import Hook, Trainer
from mvplm.runs import run_training


class Die(Hook):
    """Kills the process after a step, before anything of it is saved or logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer) -> None:
        """SIGKILL: no handler, no clean-up."""
        if trainer.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    path, whole, killed, step = sys.argv[1:]
    run_training(load_config(path, [f"train.output={whole}"]))
    run_training(load_config(path, [f"train.output={killed}"]), hooks=(Die(int(step)),))
