"""A toy without noise whose global batch is the same however many processes share it; for comparing runs.

Arguments: runs to do in turn, DIRECTORY:STOP_AT:SHARDED each; a step or 0, and "true" or "false".
"""

import os
import sys
from pathlib import Path

import torch
from oracles.launching import leave
from torch import nn

from mvplm.data.mixing import MixSource, TaskMixture, TrainingMixture
from mvplm.engine import CheckpointHook, CheckpointStore, Hook, OptimizerSettings, Trainer, TrainerSettings
from mvplm.engine.parallel import launched_plan
from mvplm.engine.processes import join_processes, rank_and_world
from mvplm.structures.processes import mean_over_processes

SAMPLES = 8


class PlainBatch:
    def __init__(self, numbers: list[int]) -> None:
        self.image_ids, self.family = numbers, "word"
        self.images = torch.stack(
            [torch.randn(6, generator=torch.Generator().manual_seed(number)) for number in numbers]
        )

    def to(self, device) -> "PlainBatch":
        return self


class PlainModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(6, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(2))
        self.frozen = nn.Linear(16, 16).requires_grad_(False)
        self.last = nn.Linear(16, 3)

    def forward(self, batch: PlainBatch) -> torch.Tensor:
        x = torch.tanh(self.first(batch.images))
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return self.last(self.frozen(x))


def criterion(output, batch) -> dict[str, torch.Tensor]:
    """Objects differ in number between samples, as in the real task: sample k has k % 3 + 1 of them."""
    weight = torch.tensor([number % 3 + 1.0 for number in batch.image_ids])
    values = (output - batch.images[:, :3]).square().sum(1) * weight
    return {"word": values.sum() / mean_over_processes(weight.sum())}


class Weights:
    def total(self, losses):
        return losses["word"]


class Stop(Hook):
    """Ends a run early, as a signal would, at a step of a longer schedule."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer) -> None:
        if trainer.step == self.step:
            trainer.interrupted = "SIGTERM"


def collate(samples) -> PlainBatch:
    return PlainBatch(list(samples))


def as_it_is(record, **_):
    return record


def make_trainer(directory: Path, *, hooks=(), **settings) -> Trainer:
    rank, world = rank_and_world()
    sources = [
        MixSource("a", range(50), as_it_is, 2, SAMPLES // world),
        MixSource("b", range(100, 130), as_it_is, 1, SAMPLES // world),
    ]
    mixture = TrainingMixture(TaskMixture(sources, rank=rank, world=world), collate)
    return Trainer(
        PlainModel(),
        criterion,
        weights=Weights(),
        mixture=mixture,
        settings=TrainerSettings(**{"steps": 12, "accumulation": 2, "device": "cpu", "log_every": 1, **settings}),
        optimizer=OptimizerSettings(lr=1e-2, ema_decay=0.9),
        hooks=[*hooks, CheckpointHook(directory, every=5)],
    )


def run(directory: Path, *, stop_at: int = 0) -> None:
    """Train to the end, or stop after a step; go on from the newest checkpoint there is."""
    make_trainer(directory, hooks=[Stop(stop_at)]).train(resume_from=CheckpointStore(directory).latest())


if __name__ == "__main__":
    torch.set_num_threads(1)
    join_processes("cpu")
    for task in sys.argv[1:]:
        name, stop_at, sharded = task.rsplit(":", 2)
        os.environ.update({"ACCELERATE_USE_FSDP": sharded, "FSDP_VERSION": "2"})
        assert launched_plan().sharded == (sharded == "true")
        run(Path(name), stop_at=int(stop_at))
    leave()
