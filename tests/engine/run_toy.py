"""A short resumable training run, also for a subprocess: directory, step to be signalled after, signal."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.toy import ToyMixture, Weights, criterion, make_model

from mvplm.engine import (
    CheckpointHook,
    CheckpointStore,
    Hook,
    MetricsWriter,
    OptimizerSettings,
    Trainer,
    TrainerSettings,
    TrainSummary,
)


class Die(Hook):
    def __init__(self, step: int, number: int) -> None:
        self.step, self.number = step, number

    def after_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            os.kill(os.getpid(), self.number)


def run(directory: Path, *, steps: int = 24, die_at: int = 0, number: int = signal.SIGKILL) -> TrainSummary:
    trainer = Trainer(
        make_model(),
        criterion,
        weights=Weights(),
        mixture=ToyMixture(),
        settings=TrainerSettings(steps=steps, accumulation=2, log_every=4, seed=3, device="cpu"),
        optimizer=OptimizerSettings(lr=1e-2, warmup_ratio=0.1, ema_decay=0.9, lr_scales={"encoder.": 0.5}),
        hooks=[
            MetricsWriter(directory / "metrics.jsonl"),
            Die(die_at, number),
            CheckpointHook(directory / "checkpoints", every=5, keep=2),
        ],
    )
    latest = CheckpointStore(directory / "checkpoints").latest()
    return trainer.train(resume_from=latest)


if __name__ == "__main__":
    run(Path(sys.argv[1]), die_at=int(sys.argv[2]), number=int(sys.argv[3]))
