"""How close the model at its real size comes to what the processor can do.

The time of one answer over the time its floating-point operations would take at the speed of a large matrix product,
measured in the same run and dtype. Deformable attention and the post-processing do no matrix products: their
operations are not counted, their time is.

Example: python tools/benchmark.py roofline
"""

import argparse
import statistics
import time
from functools import partial

import torch
from measuring import Row
from random_models import many_names, picture, random_perceiver

SIZE = 2048


def peak(dtype: torch.dtype, *, repeats: int) -> float:
    """Operations per second of a square matrix product."""
    left, right = torch.randn(SIZE, SIZE).to(dtype), torch.randn(SIZE, SIZE).to(dtype)
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - started)
    return 2 * SIZE**3 / statistics.median(seconds[1:])


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Peak, operations, seconds and their ratio."""
    from torch.utils.flop_counter import FlopCounterMode

    from mvplm.engine import native_bf16

    preset, names = ("mvplm-tiny", 8) if arguments.quick else ("mvplm-swin-b-phi-1.5", 133)
    repeats = 2 if arguments.quick else 5
    dtype = "bf16" if native_bf16(torch.device("cpu")) else "fp32"
    perceiver = random_perceiver(dtype, preset)
    ask = partial(perceiver.predict, picture(), classes=many_names(names), task="instance", mode="skip")
    with FlopCounterMode(display=False) as counter:
        ask()
    speeds, seconds = [], []
    for _ in range(2 if arguments.quick else 3):
        speeds.append(peak(torch.bfloat16 if dtype == "bf16" else torch.float32, repeats=repeats))
        started = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - started)
    operations, speed, took = counter.get_total_flops(), statistics.median(speeds), statistics.median(seconds)
    return [
        Row(
            "matrix product",
            speed / 1e9,
            "GFLOP/s",
            detail=f"{dtype}, {SIZE} x {SIZE}, {torch.get_num_threads()} threads",
        ),
        Row("one answer", operations / 1e9, "GFLOP", detail=f"{preset}, {names} names"),
        Row("one answer", took, "s", detail=f"{dtype}, median of {len(seconds)}"),
        Row(
            "measured / possible", took / (operations / speed), "x", detail="1 would be the speed of the matrix product"
        ),
    ]
