"""The mean of several trainings of one model, often a little better than each of them.

Source: Wortsman et al., Model soups (ICML 2022). The trainings must go on from one another or from the same weights.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from mvplm.perceiver import load
from mvplm.pretrained import WEIGHTS_FILE


def average_models(directories: Sequence[str | Path], out: str | Path, *, half: bool = False) -> Path:
    """Write a model directory whose weights are the mean of others; everything else is that of the last.

    Args:
        directories: two or more model directories with the same tensors; those exported in float32 lose nothing.
        out: directory to write.
        half: store bfloat16 instead of float32.

    Returns:
        The directory.

    Raises:
        ValueError: fewer than two directories, or their tensors differ in name or shape.
        FileNotFoundError: a directory without weights.
    """
    if len(directories) < 2:
        raise ValueError(f"a mean needs two models or more, got {len(directories)}")
    total: dict[str, Tensor] = {}
    for directory in directories:
        weights = load_file(Path(directory) / WEIGHTS_FILE)
        if total:
            _check_same(total, weights, who=str(directory))
        for name, value in weights.items():
            total[name] = value.double() + total[name] if name in total else value.double()
    perceiver = load(directories[-1], device="cpu", dtype="fp32")
    own = perceiver.model.state_dict()
    with torch.no_grad():
        for name, value in total.items():
            if own[name].is_floating_point():
                own[name].copy_(value / len(directories))
    provenance = {**(perceiver.provenance or {}), "source": f"mean of {', '.join(Path(d).name for d in directories)}"}
    return perceiver.save(out, half=half, provenance=provenance)


def _check_same(one: dict[str, Tensor], other: dict[str, Tensor], *, who: str) -> None:
    different = sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or one[name].shape != other[name].shape
    )
    if different:
        raise ValueError(f"{who} does not have the tensors of the models before it: {', '.join(different[:5])}")
