"""For two processes: a split batch of answers beside the whole one, and a run with adapters that is resumed.

Arguments: the file for the results (JSON, written by the first process), a folder for runs, and a base model.
"""

import json
import sys
from pathlib import Path

import torch
from oracles.launching import leave
from oracles.text_mask_runs import run_config

from mvplm.engine import Hook, join_processes, rank_and_world, seed_everything
from mvplm.engine.parallel import Replicated
from mvplm.engine.step import TrainingStep
from mvplm.runs import run_evaluation, run_training
from mvplm.text4seg.build import build_mask_mixture, build_text_mask


class StopAt(Hook):
    """Ends a run after a step as a crash of all processes would."""

    def after_step(self, trainer) -> None:
        """Break."""
        if trainer.step == 3:
            raise InterruptedError


def loss_and_gradients(config, samples) -> dict:
    """Loss and all gradients of a batch, of which every process has its share."""
    seed_everything(0)
    system = build_text_mask(config)
    rank, world = rank_and_world()
    module = Replicated(torch.device("cpu"), world).wrap(TrainingStep(system.model, None, precision="fp32"))
    share = len(samples) // world
    loss = module(system.collate(config)(samples[rank * share : (rank + 1) * share]))["lm"]
    loss.backward()
    loss = loss.detach()
    if world > 1:
        torch.distributed.all_reduce(loss)
        loss = loss / world
    trained = {name: p for name, p in system.model.named_parameters() if p.requires_grad}
    return {
        "loss": float(loss),
        "gradients": {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in trained.items()},
    }


def main(path: Path, folder: Path, base: str) -> None:
    overrides = (f"text_mask.base={base}", "text_mask.lora={rank: 4, alpha: 8}", "train.steps=4")
    config = run_config(folder / "whole", *overrides, "train.checkpoint_every=2", "data.sources.refer.batch_size=4")
    mixture = build_mask_mixture(config, build_text_mask(config))
    samples = mixture.mixture.samples(0)
    alone = loss_and_gradients(config, samples)
    join_processes("cpu")
    assert rank_and_world()[1] == 2
    together = loss_and_gradients(config, samples)
    run_training(config)
    broken = run_config(folder / "broken", *overrides, "train.checkpoint_every=2", "data.sources.refer.batch_size=4")
    try:
        run_training(broken, hooks=(StopAt(),))
    except InterruptedError:
        run_training(broken, resume=True)
    metrics = run_evaluation(config, out=folder / "measured", show=False)
    if rank_and_world()[0] == 0:
        gradients = alone["gradients"]
        found = {
            "alone": alone["loss"],
            "together": together["loss"],
            "difference": max(float((gradients[n] - together["gradients"][n]).abs().max()) for n in gradients),
            "size": max(float(value.abs().max()) for value in gradients.values()),
            "metrics": metrics,
        }
        path.write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    leave()
