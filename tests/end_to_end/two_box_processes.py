"""For two processes: one step of a model that turns boxes into masks, where one process has no mask to learn.

Argument: the file for the results (JSON, written by the first process).
"""

import json
import sys
from pathlib import Path

import torch
from oracles.box_perceivers import box_config, tiny_box_perceiver
from oracles.launching import leave

from mvplm.data.box_questions import BoxQuestionMaker
from mvplm.data.guided_boxes import BoxMix
from mvplm.data.guided_mapper import GuidedCollate, GuidedMapper
from mvplm.data.scenes import SceneDataset
from mvplm.engine import join_processes, rank_and_world
from mvplm.engine.parallel import Replicated
from mvplm.engine.step import TrainingStep
from mvplm.qwen3vl_seg.build_training import build_guided_criterion, build_guided_weights

CONFIG = box_config("box_mask.loss.crop_points=8")


def samples(system, rank: int) -> list:
    """Two scenes with masks in the first process, two captions in the second."""
    scenes = SceneDataset("train", num=4, seed=1, role="all", size=96)
    maker = BoxQuestionMaker("vqa" if rank else "category", negatives=0.0)
    mapper = GuidedMapper(maker, system.tokenizer, task="gres", boxes=BoxMix(1, 0, 0))
    return [mapper(scenes[2 * rank + place], index=place) for place in range(2)]


def gradients(module, system, rows) -> dict[str, torch.Tensor]:
    """Gradients of the total loss of samples."""
    system.model.zero_grad()
    losses = module(GuidedCollate(system.collate(CONFIG))(rows))
    build_guided_weights(CONFIG).total(losses).backward()
    named = system.model.named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad.clone() for name, p in named}


def main() -> None:
    """One step of both processes together."""
    join_processes("cpu")
    rank, world = rank_and_world()
    system = tiny_box_perceiver().system
    step = TrainingStep(system.model.train(), build_guided_criterion(CONFIG), precision="fp32")
    module = Replicated(torch.device("cpu"), world).wrap(step)
    own = samples(system, rank)
    together = gradients(module, system, own)
    torch.optim.SGD(system.model.parameters(), lr=0.1).step()
    flat = torch.cat([parameter.detach().flatten() for parameter in system.model.parameters()])
    everywhere = [torch.empty_like(flat) for _ in range(world)]
    torch.distributed.all_gather(everywhere, flat)
    found = {
        "masks": [len(sample.target) for sample in samples(system, 0)],
        "masks_of_the_other": [len(sample.target) for sample in samples(system, 1)],
        "weights": float((everywhere[0] - everywhere[1]).abs().max()),
        "decoder": float(together["mask_decoder.mask.kernel.4.weight"].abs().max()),
    }
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main()
