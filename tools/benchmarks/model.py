"""The whole model at its real size against Grounding DINO base and Mask2Former Swin-B of transformers.

Random weights, one picture of 1024 x 1024. Ours answers a list of 133 names from the picture to the finished masks
(mode "skip"); for the others one forward pass is counted.

Example: python tools/benchmark.py model
"""

import argparse
from functools import partial

import torch
from measuring import Row, interleave
from random_models import grounding_dino, many_names, mask2former, picture, random_perceiver

BARS = {"Grounding DINO base": "<= 0.5", "Mask2Former Swin-B": "<= 0.9"}


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds per picture and ratios; each peer in float32 and under bfloat16 autocast."""
    from mvplm.engine import native_bf16

    repeats = 1 if arguments.quick else 3
    image, names = picture(), many_names(133)
    best = "bf16" if native_bf16(torch.device("cpu")) else "fp32"
    perceiver = random_perceiver(best)
    contenders = {f"mvplm, {best}": partial(perceiver.predict, image, classes=names, task="instance", mode="skip")}
    parameters = {}
    for make in (grounding_dino, mask2former):
        for half in (False, True):
            peer = make(half=half)
            label = f"{peer.name}, {'bf16' if half else 'fp32'}"
            contenders[label], parameters[label] = peer.run, peer.parameters
    seconds = interleave(contenders, repeats=repeats)
    parameters[f"mvplm, {best}"] = sum(p.numel() for p in perceiver.model.parameters())
    how = f"{torch.get_num_threads()} threads, median of {repeats} in turns"
    rows = [
        Row(who, time, "s", detail=f"{parameters[who] / 1e9:.2f} B parameters, {how}") for who, time in seconds.items()
    ]
    ours = seconds[f"mvplm, {best}"]
    for name, bar in BARS.items():
        fp32 = seconds[f"{name}, fp32"]
        rows.append(Row(f"mvplm / {name}", ours / fp32, "x", "" if arguments.quick else bar, "the peer in float32"))
        fastest = min(fp32, seconds[f"{name}, bf16"])
        rows.append(Row(f"mvplm / {name}, both at their best", ours / fastest, "x"))
    return rows
