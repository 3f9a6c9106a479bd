"""For two processes: losses and gradients of a split batch, and metrics of a split evaluation, beside those of one.

Argument: the file for the results (JSON, written by the first process).
"""

import json
import os
import sys
from pathlib import Path

import torch
from oracles.launching import leave
from oracles.tiny import build_tiny, tiny_config, tiny_tokenizer

from mvplm.build_training import build_criterion, build_mixture, build_weights
from mvplm.engine import join_processes, rank_and_world
from mvplm.engine.parallel import Replicated
from mvplm.engine.step import TrainingStep
from mvplm.losses import criterion, matcher
from mvplm.runs import evaluate_perceiver

SOURCES = {"panoptic": "panoptic", "referring": "gres", "detection": "detection", "caption": "caption"}
SETTINGS = (
    "model.connector={norm: group, width: 32, stride: 32}",
    "model.encoder.train=false",
    "model.dn.budget=0",
    "response.caption_dropout=0.5",
    *(
        f"data.sources.{role}={{dataset: scenes/train, options: {{role: {role}, num: 40, seed: 7, size: 96}}, "
        f"task: {task}, batch_size: 8}}"
        for role, task in SOURCES.items()
    ),
    "eval.batch_size=4",
    "eval.sets.maps={dataset: scenes/val, options: {role: panoptic, num: 5, size: 96}, task: panoptic}",
    "eval.sets.sentences={dataset: scenes/val, options: {role: referring, num: 3, size: 96}, task: gres}",
    "infer.mode=skip",
)


def fixed_points(count_images: int, count: int, **_: object) -> torch.Tensor:
    """The same points for every picture, in place of random ones."""
    points = torch.rand(1, count, 2, generator=torch.Generator().manual_seed(count))
    return points.expand(count_images, count, 2)


def losses_and_gradients(config, samples, collate) -> dict:
    """Total loss and all gradients of a batch."""
    perceiver = build_tiny(0, *SETTINGS)
    rank, world = rank_and_world()
    step = TrainingStep(perceiver.model.train(), build_criterion(config), precision="fp32")
    module = Replicated(torch.device("cpu"), world).wrap(step)
    share = len(samples) // world
    losses = module(collate(samples[rank * share : (rank + 1) * share]))
    total = build_weights(config).total(losses)
    total.backward()
    total = total.detach()
    # What a batch does not use has no gradient in one process, and zeros where several average theirs.
    trained = {name: p for name, p in perceiver.model.named_parameters() if p.requires_grad}
    gradients = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in trained.items()}
    assert not any(module.training for module in perceiver.model.encoder.modules())
    if world > 1:
        torch.distributed.all_reduce(total)
        total = total / world
    return {"loss": float(total), "gradients": gradients}


def largest_difference(one: dict, other: dict) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def main(path: Path) -> None:
    criterion.uniform_points = matcher.uniform_points = fixed_points
    config = tiny_config(*SETTINGS)
    mixture = build_mixture(config, tiny_tokenizer())
    steps = {mixture.mixture.source_of(step): step for step in range(len(SOURCES))}
    batches = {name: mixture.mixture.samples(step) for name, step in steps.items()}
    # The second process would only compute the same.
    if os.environ["RANK"] == "0":
        alone = {name: losses_and_gradients(config, samples, mixture.collate) for name, samples in batches.items()}
        metrics = evaluate_perceiver(build_tiny(0, *SETTINGS), config)
    join_processes("cpu")
    assert rank_and_world()[1] == 2
    together = {name: losses_and_gradients(config, samples, mixture.collate) for name, samples in batches.items()}
    shared = evaluate_perceiver(build_tiny(0, *SETTINGS), config)
    if rank_and_world()[0] == 0:
        found = {
            name: {
                "alone": alone[name]["loss"],
                "together": together[name]["loss"],
                "gradient": largest_difference(alone[name]["gradients"], together[name]["gradients"]),
                "size": max(float(value.abs().max()) for value in alone[name]["gradients"].values()),
                "objects": [len(sample.target) if sample.target is not None else 0 for sample in batches[name]],
            }
            for name in batches
        }
        path.write_text(json.dumps({"training": found, "metrics": metrics, "shared_metrics": shared}))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
    leave()
