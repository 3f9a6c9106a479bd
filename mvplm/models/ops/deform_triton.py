"""Deformable attention on GPU: Triton kernels for float32 and half precision values, summed in float32.

A program serves a block of queries of one head and walks over all points; a corner outside of the map is not read.
The way back adds to the value's gradient atomically, so its last bits depend on the order of the programs.
This file imports triton: import it only when the kernel is wanted. TRITON_INTERPRET=1, set before, runs it on CPU.
Source: Deformable-DETR, section 4.1.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from mvplm.models.ops.registration import AttentionInputs, register_deformable_attention

INTERPRETED = triton.knobs.runtime.interpret
"""Whether the kernels run step by step on CPU."""
# Numbers of one corner that a program holds: queries of its block times dim.
_TILE = 1024


@triton.jit
def _axis(places: tl.tensor, at: tl.tensor, real: tl.tensor, size: tl.tensor) -> tl.tuple:
    """The cell before a place along one axis (maybe outside), the way to the next one, and who of both is inside."""
    spot = tl.load(places + at, real, 0.0) * size - 0.5
    low = tl.floor(spot)
    return low, spot - low, real & (low >= 0) & (low <= size - 1), real & (low >= -1) & (low < size - 1)


@triton.jit
def _cell(column: tl.tensor, line: tl.tensor, inside: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Numbers (queries, 1) of the cells of a level at (column, line); 0 for those outside."""
    return tl.where(inside, line.to(tl.int32) * width + column.to(tl.int32), 0)[:, None]


@triton.jit
def _forward_kernel(
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    out: tl.tensor,
    shapes: tl.tuple,
    sizes: tl.tuple,
    LEVELS: tl.constexpr,
    DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    cells, count, heads, points = sizes
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, WIDE)[None, :]
    real, used = query < count, channel < DIM
    slot = (image * count + query) * heads + head
    level_value = value + (image * cells * heads + head) * DIM + channel
    total = tl.zeros((QUERIES, WIDE), tl.float32)
    for level in tl.static_range(LEVELS):
        height, width = shapes[2 * level], shapes[2 * level + 1]
        for point in range(points):
            k = slot * (LEVELS * points) + level * points + point
            left, x, at_left, at_right = _axis(locations, 2 * k, real, width)
            top, y, at_top, at_bottom = _axis(locations, 2 * k + 1, real, height)
            weight = tl.load(weights + k, real, 0.0)
            for right in tl.static_range(2):
                for bottom in tl.static_range(2):
                    inside = (at_right if right else at_left) & (at_bottom if bottom else at_top)
                    share = weight * (x if right else 1 - x) * (y if bottom else 1 - y)
                    row = level_value + _cell(left + right, top + bottom, inside, width) * (heads * DIM)
                    total += share[:, None] * tl.load(row, inside[:, None] & used, 0.0).to(tl.float32)
        level_value += height * width * heads * DIM
    tl.store(out + slot[:, None] * DIM + channel, total, real[:, None] & used)


@triton.jit
def _backward_kernel(
    grad: tl.tensor,
    value: tl.tensor,
    locations: tl.tensor,
    weights: tl.tensor,
    grad_value: tl.tensor,
    grad_locations: tl.tensor,
    grad_weights: tl.tensor,
    shapes: tl.tuple,
    sizes: tl.tuple,
    LEVELS: tl.constexpr,
    DIM: tl.constexpr,
    QUERIES: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    cells, count, heads, points = sizes
    query = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, WIDE)[None, :]
    real, used = query < count, channel < DIM
    slot = (image * count + query) * heads + head
    given = tl.load(grad + slot[:, None] * DIM + channel, real[:, None] & used, 0.0)
    base = (image * cells * heads + head) * DIM + channel
    for level in tl.static_range(LEVELS):
        height, width = shapes[2 * level], shapes[2 * level + 1]
        for point in range(points):
            k = slot * (LEVELS * points) + level * points + point
            left, x, at_left, at_right = _axis(locations, 2 * k, real, width)
            top, y, at_top, at_bottom = _axis(locations, 2 * k + 1, real, height)
            weight = tl.load(weights + k, real, 0.0)
            by_weight, by_x, by_y = tl.zeros_like(weight), tl.zeros_like(weight), tl.zeros_like(weight)
            for right in tl.static_range(2):
                for bottom in tl.static_range(2):
                    inside = (at_right if right else at_left) & (at_bottom if bottom else at_top)
                    across, down = (x if right else 1 - x), (y if bottom else 1 - y)
                    row = base + _cell(left + right, top + bottom, inside, width) * (heads * DIM)
                    seen = tl.load(value + row, inside[:, None] & used, 0.0).to(tl.float32)
                    share = weight * across * down
                    tl.atomic_add(grad_value + row, share[:, None] * given, inside[:, None] & used, sem="relaxed")
                    dot = tl.sum(seen * given, 1)
                    by_weight += across * down * dot
                    by_x += (down if right else -down) * dot
                    by_y += (across if bottom else -across) * dot
            tl.store(grad_weights + k, by_weight, real)
            tl.store(grad_locations + 2 * k, by_x * weight * width, real)
            tl.store(grad_locations + 2 * k + 1, by_y * weight * height, real)
        base += height * width * heads * DIM


def _launch(kernel: Any, inputs: AttentionInputs, *, arrays: tuple[Tensor, ...]) -> None:
    """Run a kernel over all blocks of queries, heads and images."""
    batch, cells, heads, dim = inputs.value.shape
    queries = inputs.weights.shape[1]
    wide = triton.next_power_of_2(dim)
    block = max(1, _TILE // wide)
    if not (batch and queries):
        return
    kernel[(triton.cdiv(queries, block), heads, batch)](
        *arrays,
        tuple(inputs.sides),
        (cells, queries, heads, inputs.points),
        LEVELS=inputs.levels,
        DIM=dim,
        QUERIES=block,
        WIDE=wide,
    )


def _check_device(inputs: AttentionInputs) -> None:
    if not (inputs.value.is_cuda or INTERPRETED):
        raise ValueError(f"the triton backend needs tensors on a GPU, got {inputs.value.device}")


def _forward(inputs: AttentionInputs) -> Tensor:
    """Attended values (B, Q, heads * dim) float32."""
    _check_device(inputs)
    value, locations, weights = (x.contiguous() for x in (inputs.value, inputs.locations, inputs.weights))
    batch, queries, heads = weights.shape[:3]
    out = value.new_empty((batch, queries, heads * value.shape[-1]), dtype=torch.float32)
    _launch(_forward_kernel, inputs, arrays=(value, locations, weights, out))
    return out


def _backward(grad: Tensor, inputs: AttentionInputs) -> list[Tensor]:
    """Gradients of value (in its type), locations and weights from that of the result (B, Q, heads * dim)."""
    _check_device(inputs)
    if torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError("the triton backend has no deterministic gradient; torch.use_deterministic_algorithms is on")
    grad, value, locations, weights = (
        x.contiguous() for x in (grad.float(), inputs.value, inputs.locations, inputs.weights)
    )
    grad_value = torch.zeros_like(value, dtype=torch.float32)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    arrays = (grad, value, locations, weights, grad_value, grad_locations, grad_weights)
    _launch(_backward_kernel, inputs, arrays=arrays)
    return [grad_value.to(value.dtype), grad_locations, grad_weights]


register_deformable_attention("deform_attn_triton", forward=_forward, backward=_backward)
