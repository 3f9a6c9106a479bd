"""The training loader on real photos: pictures per second, and how long a training step of the small model waits.

Reads, resizes, writes prompts, targets and batches of coco_mini (its folder lies in MVPLM_DATASETS), for instances and
for panoptic maps. Then a trainer takes steps of mvplm-tiny with random weights on both in turns, at the same size, and
says how much of the time it waited for batches.

Example: python tools/benchmark.py loader
"""

import argparse
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from measuring import Row

if TYPE_CHECKING:
    from mvplm.config import Config

ROLES = ("instance", "panoptic")
WARMUPS = 2
BAR = "<= 0.05"
# Room for the 133 names of the panoptic maps.
PROMPT = ("model.llm.context=2048", "prompt.max_length=2048", "model.llm.attention=sdpa", "response.kind=none")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Size, workers, and how much is measured."""
    parser.add_argument("--size", type=int, default=1024, help="longer side of the pictures")
    parser.add_argument("--batch", type=int, default=2, help="pictures per batch")
    parser.add_argument("--workers", type=int, default=2, help="loader processes")
    parser.add_argument("--batches", type=int, default=60, help="timed batches of the loader alone")
    parser.add_argument("--steps", type=int, default=10, help="timed training steps")


def configure(options: Mapping[str, Mapping[str, Any]], *, size: int, batch: int, workers: int, steps: int) -> "Config":
    """mvplm-tiny in fp32 with one source of the given entries (dataset, options, task) per name.

    Args:
        options: by name of the source. size: longer side in pixels. batch: pictures per batch.
        workers: loader processes. steps: length of the training.
    """
    from mvplm.config import load_config

    sources = {name: {**entry, "batch_size": batch} for name, entry in options.items()}
    settings = {"image.size": size, "data.num_workers": workers, "train.steps": steps, "train.precision": "fp32"}
    return load_config(
        None,
        [
            "model.preset=mvplm-tiny",
            *PROMPT,
            *(f"{key}={value}" for key, value in settings.items()),
            f"data.sources={sources}",
        ],
    )


def loaded_per_second(config: "Config", *, batches: int) -> float:
    """Pictures per second that the loader of a configuration gives to somebody who does nothing else."""
    from mvplm.build import build_tokenizer
    from mvplm.build_training import build_mixture

    mixture = build_mixture(config, build_tokenizer(config))
    given = (batch for _, batch in mixture.batches(0, num_workers=config.data.num_workers))
    for _ in islice(given, WARMUPS * max(1, config.data.num_workers)):
        pass
    started = time.perf_counter()
    pictures = sum(len(batch.images) for batch in islice(given, batches))
    seconds = time.perf_counter() - started
    given.close()
    return pictures / seconds


def waiting(config: "Config") -> dict[str, float]:
    """Seconds of a training step and the share of them spent waiting for its batch, without the first steps."""
    from mvplm.build import build_model, build_tokenizer
    from mvplm.build_training import (
        build_criterion,
        build_mixture,
        build_optimizer_settings,
        build_trainer_settings,
        build_weights,
    )
    from mvplm.engine import Hook, Trainer, seed_everything

    class Clock(Hook):
        """What the trainer's clocks said after the steps that do not count."""

        seconds = data_seconds = 0.0

        def after_step(self, trainer: Trainer) -> None:
            """Look at them once."""
            if trainer.step == WARMUPS:
                self.seconds, self.data_seconds = trainer.seconds, trainer.data_seconds

    seed_everything(config.train.seed)
    tokenizer = build_tokenizer(config)
    clock = Clock()
    trainer = Trainer(
        build_model(config, tokenizer),
        build_criterion(config),
        weights=build_weights(config),
        mixture=build_mixture(config, tokenizer),
        settings=build_trainer_settings(config),
        optimizer=build_optimizer_settings(config),
        hooks=(clock,),
    )
    trainer.train()
    seconds = trainer.seconds - clock.seconds
    return {
        "step": seconds / (config.train.steps - WARMUPS),
        "wait": (trainer.data_seconds - clock.data_seconds) / seconds,
    }


def compare(
    options: Mapping[str, Mapping[str, Any]], *, size: int, batch: int, workers: int, batches: int, steps: int
) -> list[Row]:
    """Rows for the loader of each source alone and for training on all; see :func:`configure` for the arguments."""
    how = f"{size} px, batches of {batch}, {workers} workers"
    rows = []
    for name, entry in options.items():
        config = configure({name: entry}, size=size, batch=batch, workers=workers, steps=1)
        speed = loaded_per_second(config, batches=batches)
        rows.append(Row(f"{name}: loader alone", speed, "images/s", detail=f"{how}, {batches} batches"))
    found = waiting(configure(options, size=size, batch=batch, workers=workers, steps=WARMUPS + steps))
    how += f", fp32, {torch.get_num_threads()} threads, mean of {steps} steps"
    rows.append(Row("training step", found["step"], "s", detail=how))
    rows.append(Row("waiting for batches", found["wait"], "", BAR, "share of the step"))
    return rows


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Rows of :func:`compare` for the photos of coco_mini.

    Raises:
        FileNotFoundError: coco_mini is not there.
    """
    options = {role: {"dataset": "coco_mini/train", "options": {"role": role}, "task": role} for role in ROLES}
    sizes = {name: getattr(arguments, name) for name in ("size", "batch", "workers", "batches", "steps")}
    if not arguments.quick:
        return compare(options, **sizes)
    rows = compare(options, **{**sizes, "size": 192, "batches": 4, "steps": 2})
    return [Row(row.name, row.value, row.unit, "", row.detail) for row in rows]
