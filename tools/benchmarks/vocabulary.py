"""What a longer list of names costs per picture: 80 against 1 203 names, for both orders of the prompt.

Random weights, mode "skip". With "instruction_first" the vectors of a list are kept after its first use.

Example: python tools/benchmark.py vocabulary
         python tools/benchmark.py vocabulary --preset mvplm-tiny
"""

import argparse
from functools import partial
from typing import TYPE_CHECKING

import torch
from measuring import Row, interleave
from random_models import many_names, picture, random_perceiver

if TYPE_CHECKING:
    from mvplm.perceiver import Perceiver

FEW, MANY = 80, 1203
BARS = {"image_first": "<= 3", "instruction_first": "<= 1.15"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which architecture."""
    parser.add_argument("--preset", default="mvplm-swin-b-phi-1.5", help="name of an architecture")


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds per picture and ratios.

    Raises:
        ValueError: for an unknown architecture.
    """
    from mvplm.engine import native_bf16

    preset, repeats = ("mvplm-tiny", 1) if arguments.quick else (arguments.preset, 3)
    dtype = "bf16" if preset != "mvplm-tiny" and native_bf16(torch.device("cpu")) else "fp32"
    perceiver = random_perceiver(dtype, preset)
    perceivers = {"image_first": perceiver, "instruction_first": _other_order(perceiver)}
    image, names = picture(), {count: many_names(count) for count in (FEW, MANY)}
    contenders = {
        f"{order}, {count} names": partial(
            perceivers[order].predict, image, classes=names[count], task="instance", mode="skip"
        )
        for order in perceivers
        for count in names
    }
    seconds = interleave(contenders, repeats=repeats)
    how = f"{preset}, {dtype}, {torch.get_num_threads()} threads, median of {repeats} in turns"
    rows = [Row(name, time, "s", detail=how) for name, time in seconds.items()]
    for order, bar in BARS.items():
        ratio = seconds[f"{order}, {MANY} names"] / seconds[f"{order}, {FEW} names"]
        rows.append(Row(f"{order}: {MANY} / {FEW} names", ratio, "x", "" if arguments.quick else bar))
    return rows


def _other_order(perceiver: "Perceiver") -> "Perceiver":
    """The same network and tokenizer, prompted with names first."""
    from dataclasses import replace

    from mvplm.perceiver import Perceiver

    config = perceiver.config
    return Perceiver(
        perceiver.model,
        perceiver.tokenizer,
        config=replace(config, prompt=replace(config.prompt, order="instruction_first")),
        settings=perceiver.settings,
        dtype=perceiver.dtype,
    )
