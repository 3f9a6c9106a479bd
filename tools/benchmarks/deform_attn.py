"""Deformable attention: ours against the function of transformers' Mask2Former.

The size is one encoder layer at 1024 x 1024: levels of 128, 64, 32 and 16 cells a side, every cell a query that looks
at four places per level a few cells around itself, 8 heads of 32 numbers.

Example: python tools/benchmark.py deform_attn
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from measuring import Row, interleave
from torch import Tensor

HEADS, DIM, POINTS = 8, 32, 4
SPREAD = 2.5


@dataclass(frozen=True)
class Case:
    """Inputs of one layer.

    Attributes:
        shapes: (h, w) of the levels. value, locations, weights: as the function takes them, wanting gradients.
        probe: gradient of the result.
    """

    shapes: list[tuple[int, int]]
    value: Tensor
    locations: Tensor
    weights: Tensor
    probe: Tensor


def draw_case(side: int) -> Case:
    """A layer for a picture of ``side`` pixels: places are normally distributed around the own cell."""
    torch.manual_seed(0)
    shapes = [(side // stride, side // stride) for stride in (8, 16, 32, 64)]
    centres = torch.cat([_centres(height, width) for height, width in shapes])
    cells = len(centres)
    sizes = torch.tensor([[width, height] for height, width in shapes], dtype=torch.float32)
    offsets = torch.randn(1, cells, HEADS, len(shapes), POINTS, 2) * SPREAD / sizes[:, None]
    weights = torch.randn(1, cells, HEADS, len(shapes) * POINTS).softmax(-1).unflatten(-1, (len(shapes), POINTS))
    return Case(
        shapes,
        value=torch.randn(1, cells, HEADS, DIM).requires_grad_(),
        locations=(centres[:, None, None, None] + offsets).requires_grad_(),
        weights=weights.requires_grad_(),
        probe=torch.randn(1, cells, HEADS * DIM),
    )


def _centres(height: int, width: int) -> Tensor:
    """Centres (h * w, 2) of the cells of a map, (x, y) in fractions."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def ours(case: Case, *, backend: str = "auto", value: Tensor | None = None) -> Tensor:
    """Our function."""
    from mvplm.models.ops import multi_scale_deformable_attention

    return multi_scale_deformable_attention(
        case.value if value is None else value,
        case.shapes,
        sampling_locations=case.locations,
        attention_weights=case.weights,
        backend=backend,
    )


def theirs(case: Case) -> Tensor:
    """The function of transformers."""
    from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

    return multi_scale_deformable_attention(case.value, case.shapes, case.locations, case.weights)


def forward(run: Callable[[], Tensor]) -> Tensor:
    """The result, nothing kept for gradients."""
    with torch.no_grad():
        return run()


def forward_backward(run: Callable[[], Tensor], case: Case) -> tuple[Tensor, ...]:
    """Gradients of value, locations and weights."""
    return torch.autograd.grad(run(), (case.value, case.locations, case.weights), case.probe)


def measure(arguments: argparse.Namespace) -> list[Row]:
    """Seconds, ratios and the difference of the results."""
    from mvplm.models.ops.backends import live_backend

    case = draw_case(128 if arguments.quick else 1024)
    repeats = 3 if arguments.quick else 7
    ours_now, theirs_now = partial(ours, case), partial(theirs, case)
    half = case.value.detach().bfloat16()
    passes = {
        "forward": {
            "mvplm": partial(forward, ours_now),
            "transformers": partial(forward, theirs_now),
            "mvplm, bfloat16 value": partial(forward, partial(ours, case, value=half)),
            "mvplm, reference": partial(forward, partial(ours, case, backend="reference")),
        },
        "forward and backward": {
            "mvplm": partial(forward_backward, ours_now, case),
            "transformers": partial(forward_backward, theirs_now, case),
        },
    }
    bars = {"forward": ">= 15", "forward and backward": ">= 8"}
    live = live_backend(dim=DIM, points=POINTS)
    how = f"{case.value.shape[1]} tokens, {live.name}, {torch.get_num_threads()} threads, median of {repeats} in turns"
    rows = []
    for name, contenders in passes.items():
        seconds = interleave(contenders, repeats=repeats)
        rows += [Row(f"{name}: {who}", time, "s", detail=how) for who, time in seconds.items()]
        ratio = seconds["transformers"] / seconds["mvplm"]
        bar = "" if arguments.quick else bars[name]
        rows.append(Row(f"{name}: times faster", ratio, "x", bar, detail="transformers / mvplm"))
    difference = (forward(ours_now) - forward(theirs_now)).abs().max().item()
    rows.append(Row("largest difference", difference, "", "<= 1e-4", detail="of the results, float32"))
    return rows
