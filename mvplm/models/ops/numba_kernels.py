"""Deformable attention on CPU: loops that numba compiles for this processor.

One step of a loop serves one query and one head, a *slot*. First come the places: every point touches two columns
and two rows of its level, so four cells ("corners"), each with a share; this is plain arithmetic over the points that
the compiler turns into vector instructions. Then come the cells: ``dim`` consecutive numbers each, which two
intrinsics (``weighted_rows``, ``spread_rows``) keep in vector registers over all corners of a slot. A corner outside
of the map has share zero and is read at the nearest cell inside, so there are no branches.

Kernels are compiled per (dim, points of all levels), because constant sizes are what makes them fast, and cached on
disk: beside this file, else in the user's cache directory, or where NUMBA_CACHE_DIR says. They hold no lock, so that
ordinary threads run them side by side.
Source: Deformable-DETR, section 4.1.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

# Sums may be reordered, but nan and inf stay what they are: a wrong number must not disappear.
_FAST = ("contract", "reassoc", "nsz")
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(64)
# Short rows are summed in four independent chains, which hides the latency of additions; long ones fill the registers.
_SHORT = 32

_f32, _i32, _u = np.float32, np.int32, np.uintp


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    """A kernel compiled by numba when first called, and kept on disk where there is a writable place."""
    options = {"nogil": True, "fastmath": set(_FAST), "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
        text = "no writable folder for compiled kernels, so every process compiles anew; NUMBA_CACHE_DIR names one"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return njit(**options)(function)


class _Rows:
    """Writes the instructions that read and write rows of ``dim`` float32 numbers as vectors."""

    def __init__(self, context: Any, builder: Any, *, dim: int) -> None:
        self.context, self.builder, self.dim = context, builder, dim
        self.vector = ir.VectorType(_FLOAT, dim)

    def address(self, kind: Any, array: Any) -> Any:
        """First element of an array of numba type ``kind``."""
        return self.context.make_array(kind)(self.context, self.builder, array).data

    def row(self, start: Any, index: Any) -> Any:
        """Address of row ``index`` of the contiguous matrix at ``start``."""
        offset = self.builder.mul(index, ir.Constant(index.type, self.dim))
        return self.builder.bitcast(self.builder.gep(start, [offset]), self.vector.as_pointer())

    def at(self, start: Any, index: Any) -> Any:
        """Element ``index`` of the list at ``start``; row numbers widen to addresses."""
        number = self.builder.load(self.builder.gep(start, [index]))
        return number if number.type == _FLOAT else self.builder.zext(number, _INDEX)

    def load(self, address: Any) -> Any:
        """The row at ``address``."""
        return self.builder.load(address, align=4)

    def store(self, row: Any, address: Any) -> None:
        """Write a row."""
        self.builder.store(row, address, align=4)

    def add_scaled(self, total: Any, row: Any, *, factor: Any) -> Any:
        """``total + factor * row``."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(nothing, factor, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.dim), [0] * self.dim)
        spread = self.builder.shuffle_vector(first, nothing, lanes)
        return self.builder.fadd(total, self.builder.fmul(row, spread, flags=_FAST), flags=_FAST)

    def dot(self, one: Any, other: Any) -> Any:
        """Sum of products of two rows."""
        kind = ir.FunctionType(_FLOAT, [_FLOAT, self.vector])
        name = f"llvm.vector.reduce.fadd.v{self.dim}f32"
        reduce = cgutils.get_or_insert_function(self.builder.module, kind, name)
        products = self.builder.fmul(one, other, flags=_FAST)
        return self.builder.call(reduce, [ir.Constant(_FLOAT, 0), products], fastmath=_FAST)


@intrinsic(prefer_literal=True)
def weighted_rows(typing: Any, out: Any, slot: Any, value: Any, rows: Any, shares: Any, dim: Any, count: Any) -> Any:
    """``out[slot] = sum over the 4 * count corners k of shares[k] * value[rows[k]]``; rows are ``dim`` long."""
    corners, lanes = 4 * count.literal_value, dim.literal_value
    chains = 4 if lanes <= _SHORT else 1

    def generate(*given: Any) -> Any:
        context, builder, signature, args = given
        tool = _Rows(context, builder, dim=lanes)
        start = [tool.address(kind, array) for kind, array in zip(signature.args, args, strict=True) if _is_array(kind)]
        out_at, value_at, rows_at, shares_at = start
        totals = [cgutils.alloca_once_value(builder, ir.Constant(tool.vector, None)) for _ in range(chains)]
        with cgutils.for_range(builder, ir.Constant(_INDEX, corners // chains)) as loop:
            for chain, total in enumerate(totals):
                corner = builder.add(loop.index, ir.Constant(_INDEX, chain * (corners // chains)))
                row = tool.load(tool.row(value_at, tool.at(rows_at, corner)))
                share = tool.at(shares_at, corner)
                builder.store(tool.add_scaled(builder.load(total), row, factor=share), total)
        sums = [builder.load(total) for total in totals]
        tool.store(functools.reduce(builder.fadd, sums), tool.row(out_at, args[1]))
        return context.get_dummy_value()

    return types.void(out, slot, value, rows, shares, dim, count), generate


@intrinsic(prefer_literal=True)
def spread_rows(
    typing: Any,
    grad: Any,
    slot: Any,
    value: Any,
    grad_value: Any,
    rows: Any,
    shares: Any,
    dots: Any,
    dim: Any,
    count: Any,
) -> Any:
    """The way back: ``grad_value[rows[k]] += shares[k] * grad[slot]`` and ``dots[k] = value[rows[k]] . grad[slot]``."""
    corners, lanes = 4 * count.literal_value, dim.literal_value

    def generate(*given: Any) -> Any:
        context, builder, signature, args = given
        tool = _Rows(context, builder, dim=lanes)
        start = [tool.address(kind, array) for kind, array in zip(signature.args, args, strict=True) if _is_array(kind)]
        grad_at, value_at, grad_value_at, rows_at, shares_at, dots_at = start
        given = tool.load(tool.row(grad_at, args[1]))
        with cgutils.for_range(builder, ir.Constant(_INDEX, corners)) as loop:
            row = tool.at(rows_at, loop.index)
            dot = tool.dot(tool.load(tool.row(value_at, row)), given)
            builder.store(dot, builder.gep(dots_at, [loop.index]))
            target = tool.row(grad_value_at, row)
            share = tool.at(shares_at, loop.index)
            tool.store(tool.add_scaled(tool.load(target), given, factor=share), target)
        return context.get_dummy_value()

    return types.void(grad, slot, value, grad_value, rows, shares, dots, dim, count), generate


def _is_array(kind: Any) -> bool:
    return isinstance(kind, types.Array)


# Scalars in, scalars out: with arrays as arguments the loops over points would not become vector instructions.
@njit(inline="always")
def _axis(place: Any, size: Any) -> tuple[Any, ...]:
    """One axis of a point: the two cells around it (moved inside), the way from one to the other, and who is inside.

    ``place`` is a fraction of ``size`` cells. A place that is no number makes the way no number.
    """
    spot = place * _f32(size) - _f32(0.5)
    low = np.floor(spot)
    last = _f32(size - _i32(1))
    near = _f32((low >= _f32(0)) & (low <= last))
    far = _f32((low >= _f32(-1)) & (low < last))
    first = _i32(min(max(low, _f32(0)), last))
    second = _i32(min(max(low + _f32(1), _f32(0)), last))
    return first, second, spot - low, near, far


@njit(inline="always")
def _corners(x: Any, y: Any, weight: Any, width: Any, height: Any) -> tuple[Any, ...]:
    """Cells of the upper left, upper right, lower left and lower right corner of a point, then their shares."""
    left, right, across, at_left, at_right = _axis(x, width)
    top, bottom, down, at_top, at_bottom = _axis(y, height)
    above, below = _i32(top * width), _i32(bottom * width)
    upper, lower = weight * (_f32(1) - down) * at_top, weight * down * at_bottom
    before, after = (_f32(1) - across) * at_left, across * at_right
    shares = (upper * before, upper * after, lower * before, lower * after)
    return (_i32(above + left), _i32(above + right), _i32(below + left), _i32(below + right)), shares


@njit(inline="always")
def _slopes(x: Any, y: Any, width: Any, height: Any, dots: Any) -> tuple[Any, ...]:
    """Derivatives of a sample by its weight, x and y (in cells), from the four corners' values ``dots``."""
    _, _, across, at_left, at_right = _axis(x, width)
    _, _, down, at_top, at_bottom = _axis(y, height)
    upper_left, upper_right = dots[0] * at_top * at_left, dots[1] * at_top * at_right
    lower_left, lower_right = dots[2] * at_bottom * at_left, dots[3] * at_bottom * at_right
    upper = upper_left + across * (upper_right - upper_left)
    lower = lower_left + across * (lower_right - lower_left)
    before = upper_left + down * (lower_left - upper_left)
    after = upper_right + down * (lower_right - upper_right)
    return upper + down * (lower - upper), after - before, lower - upper


@functools.cache
def forward_kernel(dim: int, count: int) -> Callable[..., None]:
    """Compiled ``kernel(value, levels, heads, locations, weights, out)`` for rows of ``dim`` and ``count`` points.

    Args of the kernel:
        value: (cells * heads, dim). out: (slots, dim), written. heads: int32.
        levels: (3 * count,) int32: width, then height, then first cell of the level of every point.
        locations: (slots * count * 2,). weights: (slots * count,). Slots are queries times heads.
    """

    @_compiled
    def kernel(value: Any, levels: Any, heads: Any, locations: Any, weights: Any, out: Any) -> None:
        n = _u(count)
        rows, shares = np.empty(4 * count, np.uint32), np.empty(4 * count, np.float32)
        for slot in range(_u(len(out))):
            head = _i32(slot % _u(heads))
            for i in range(n):
                k, start = slot * n + i, levels[n + n + i]
                cells, parts = _corners(
                    locations[k + k], locations[k + k + _u(1)], weights[k], levels[i], levels[n + i]
                )
                rows[i], shares[i] = _i32((start + cells[0]) * heads + head), parts[0]
                rows[n + i], shares[n + i] = _i32((start + cells[1]) * heads + head), parts[1]
                rows[n + n + i], shares[n + n + i] = _i32((start + cells[2]) * heads + head), parts[2]
                rows[n + n + n + i], shares[n + n + n + i] = _i32((start + cells[3]) * heads + head), parts[3]
            weighted_rows(out, slot, value, rows, shares, dim, count)

    return kernel


@functools.cache
def backward_kernel(dim: int, count: int) -> Callable[..., None]:
    """Compiled ``kernel(span, levels, value, locations, weights, grad, grad_value, grad_locations, grad_weights)``.

    ``span`` is (heads, first head, last head + 1) int32: only these heads are served, so that kernels of different
    heads never write to the same row of ``grad_value``, which has to come as zeros. The rest is as in
    :func:`forward_kernel`; gradients have the shape of what they belong to.
    """

    @_compiled
    def kernel(
        span: Any,
        levels: Any,
        value: Any,
        locations: Any,
        weights: Any,
        grad: Any,
        grad_value: Any,
        grad_locations: Any,
        grad_weights: Any,
    ) -> None:
        n, heads = _u(count), span[0]
        rows, shares = np.empty(4 * count, np.uint32), np.empty(4 * count, np.float32)
        dots = np.empty(4 * count, np.float32)
        for query in range(_u(len(grad)) // _u(heads)):
            for head in range(_u(span[1]), _u(span[2])):
                slot = query * _u(heads) + head
                own = _i32(head)
                for i in range(n):
                    k, start = slot * n + i, levels[n + n + i]
                    cells, parts = _corners(
                        locations[k + k], locations[k + k + _u(1)], weights[k], levels[i], levels[n + i]
                    )
                    rows[i], shares[i] = _i32((start + cells[0]) * heads + own), parts[0]
                    rows[n + i], shares[n + i] = _i32((start + cells[1]) * heads + own), parts[1]
                    rows[n + n + i], shares[n + n + i] = _i32((start + cells[2]) * heads + own), parts[2]
                    rows[n + n + n + i], shares[n + n + n + i] = _i32((start + cells[3]) * heads + own), parts[3]
                spread_rows(grad, slot, value, grad_value, rows, shares, dots, dim, count)
                for i in range(n):
                    k, width, height = slot * n + i, levels[i], levels[n + i]
                    seen = dots[i], dots[n + i], dots[n + n + i], dots[n + n + n + i]
                    slopes = _slopes(locations[k + k], locations[k + k + _u(1)], width, height, seen)
                    grad_weights[k] = slopes[0]
                    grad_locations[k + k] = weights[k] * _f32(width) * slopes[1]
                    grad_locations[k + k + _u(1)] = weights[k] * _f32(height) * slopes[2]

    return kernel
