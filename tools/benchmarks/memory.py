"""Peak memory of loading the model at its real size and answering about one picture of 1024 x 1024.

Every dtype runs in a process of its own, whose largest resident size counts.

Example: python tools/benchmark.py memory
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from measuring import Row

BARS = {"bf16": "<= 5", "fp32": "<= 9"}
_PROGRAM = """
import resource
from random_models import many_names, picture, random_perceiver
random_perceiver({dtype!r}, {preset!r}).predict(picture(), classes=many_names({names}), task="instance", mode="skip")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measure(arguments: argparse.Namespace) -> list[Row]:
    """GiB per dtype."""
    preset, names = ("mvplm-tiny", 8) if arguments.quick else ("mvplm-swin-b-phi-1.5", 133)
    folder = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, *filter(None, sys.path)])}
    rows = []
    for dtype, bar in BARS.items():
        program = _PROGRAM.format(dtype=dtype, preset=preset, names=names)
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        gibibytes = int(done.stdout.split()[-1]) / 2**20
        detail = f"{preset}, {names} names, largest resident size of the process"
        rows.append(Row(dtype, gibibytes, "GiB", "" if arguments.quick else bar, detail))
    return rows
