"""Deformable attention on CPU, by the compiled loops of :mod:`mvplm.models.ops.numba_kernels`, on all torch threads.

This file imports numba: import it only when the kernel is wanted.
"""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mvplm.models.ops.numba_kernels import backward_kernel, forward_kernel
from mvplm.models.ops.registration import AttentionInputs, register_deformable_attention
from mvplm.models.ops.threads import run_pieces

# A piece of work has at least so many slots (a query and a head), and a thread gets a few pieces: a late one gets less.
_SLOTS, _PIECES_PER_THREAD = 512, 4


def _forward(inputs: AttentionInputs) -> Tensor:
    """Attended values (B, Q, heads * dim) float32. A piece of work is some queries of an image."""
    value, locations, weights = _arrays(inputs)
    batch, _, heads, dim = value.shape
    queries, count = weights.shape[1], inputs.levels * inputs.points
    result = torch.empty(batch, queries, heads * dim)
    out = result.numpy()
    kernel, levels = forward_kernel(dim, count), _levels(tuple(inputs.sides), inputs.points)
    run_pieces(
        functools.partial(
            kernel,
            value[image].reshape(-1, dim),
            levels,
            np.int32(heads),
            locations[image, part].reshape(-1),
            weights[image, part].reshape(-1),
            out[image, part].reshape(-1, dim),
        )
        for image, part in itertools.product(range(batch), _parts(queries, slots=batch * queries * heads, images=batch))
    )
    return result


def _backward(grad: Tensor, inputs: AttentionInputs) -> list[Tensor]:
    """Gradients of value, locations and weights from that of the result (B, Q, heads * dim) float32.

    A piece of work is some heads of an image, so that no two write to the same place.
    """
    value, locations, weights = _arrays(inputs)
    batch, _, heads, dim = value.shape
    queries, count = weights.shape[1], inputs.levels * inputs.points
    given = grad.detach().contiguous().numpy()
    gradients = [torch.zeros(value.shape), torch.empty(locations.shape), torch.empty(weights.shape)]
    of_value, of_locations, of_weights = (x.numpy() for x in gradients)
    kernel, levels = backward_kernel(dim, count), _levels(tuple(inputs.sides), inputs.points)
    run_pieces(
        functools.partial(
            kernel,
            (np.int32(heads), np.int32(part.start), np.int32(part.stop)),
            levels,
            value[image].reshape(-1, dim),
            locations[image].reshape(-1),
            weights[image].reshape(-1),
            given[image].reshape(-1, dim),
            of_value[image].reshape(-1, dim),
            of_locations[image].reshape(-1),
            of_weights[image].reshape(-1),
        )
        for image, part in itertools.product(range(batch), _parts(heads, slots=batch * queries * heads, images=batch))
    )
    return gradients


def _arrays(inputs: AttentionInputs) -> Iterator[np.ndarray]:
    """Value, locations and weights as contiguous arrays.

    Raises:
        ValueError: when one is not float32 or not on the CPU.
    """
    tensors = (inputs.value, inputs.locations, inputs.weights)
    for x in tensors:
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"the numba backend needs float32 tensors on the CPU, got {x.dtype} on {x.device}")
    return (x.detach().contiguous().numpy() for x in tensors)


@functools.lru_cache(maxsize=256)
def _levels(sides: tuple[int, ...], points: int) -> np.ndarray:
    """(3 * L * points,) int32: width, then height, then first cell of the level of every point."""
    heights, widths = np.array(sides[::2]), np.array(sides[1::2])
    first = np.cumsum(heights * widths) - heights * widths
    return np.repeat(np.stack([widths, heights, first]), points, axis=1).astype(np.int32).reshape(-1)


def _parts(total: int, *, slots: int, images: int) -> list[slice]:
    """``range(total)`` of each image cut into even parts, for ``slots`` slots of work in all images together."""
    wanted = min(torch.get_num_threads() * _PIECES_PER_THREAD, slots // _SLOTS)
    count = max(1, min(total, -(-wanted // max(1, images))))
    cuts = [total * part // count for part in range(count + 1)]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


register_deformable_attention("deform_attn_numba", forward=_forward, backward=_backward)
