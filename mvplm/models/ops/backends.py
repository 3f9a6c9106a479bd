"""Which implementation of deformable attention runs here: the fastest that agrees with the reference."""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.models.ops.deform_reference import reference_deformable_attention
from mvplm.models.ops.registration import AttentionInputs
from mvplm.structures.choices import check_choice

VARIABLE = "MVPLM_DEFORM_ATTN"
"""Environment variable that names the implementation to take instead of the automatic choice."""
TOLERANCE = 1e-4
"""Largest difference from the reference in the check at first use, relative to the reference's largest number or 1."""
_FASTEST = {"cpu": "numba", "cuda": "triton"}
_MODULES = {"numba": "mvplm.models.ops.deform_numba", "triton": "mvplm.models.ops.deform_triton"}


def _reference(inputs: AttentionInputs) -> Tensor:
    shapes = list(zip(inputs.sides[::2], inputs.sides[1::2], strict=True))
    return reference_deformable_attention(
        inputs.value.float(), shapes, sampling_locations=inputs.locations, attention_weights=inputs.weights
    )


def _numba(inputs: AttentionInputs) -> Tensor:
    return torch.ops.mvplm.deform_attn_numba(inputs.value.float(), inputs.sides, inputs.locations, inputs.weights)


def _triton(inputs: AttentionInputs) -> Tensor:
    direct = inputs.value.dtype in (torch.float32, torch.bfloat16, torch.float16)
    value = inputs.value if direct else inputs.value.float()
    return torch.ops.mvplm.deform_attn_triton(value, inputs.sides, inputs.locations, inputs.weights)


BACKENDS: dict[str, Callable[[AttentionInputs], Tensor]] = {"reference": _reference, "numba": _numba, "triton": _triton}
"""Implementations by name; each takes locations and weights in float32 and a value of any floating type."""


@dataclass(frozen=True)
class LiveBackend:
    """An implementation and why it was taken.

    Attributes:
        name: a key of ``BACKENDS``. reason: half a sentence.
    """

    name: str
    reason: str


def live_backend(
    backend: str = "auto",
    *,
    device: str = "cpu",
    dim: int = 32,
    levels: int = 4,
    points: int = 4,
    gradients: bool = True,
) -> LiveBackend:
    """The implementation that ``backend`` means for tensors of these sizes on a device type such as "cuda".

    "auto" is what ``MVPLM_DEFORM_ATTN`` names, else the fastest for the device. A kernel is compared with the
    reference when it is first taken for these sizes: in values, and in gradients too where ``gradients`` are wanted.
    "auto" warns and takes the reference when there is no kernel that works; a named kernel that does not work is an
    error.

    Raises:
        ValueError: for an unknown name.
        RuntimeError: when the named implementation does not work here.
    """
    check_choice("deformable attention backend", backend, choices=("auto", *BACKENDS))
    name, reason = backend, "asked for"
    if name == "auto" and (named := os.environ.get(VARIABLE)):
        name, reason = (
            check_choice(f"deformable attention backend in {VARIABLE}", named, choices=BACKENDS),
            f"{VARIABLE} says so",
        )
    if name == "auto":
        return _fastest(device, dim=dim, levels=levels, points=points, gradients=gradients)
    trouble = _trouble(name, device=device, dim=dim, levels=levels, points=points, gradients=gradients)
    if trouble:
        raise RuntimeError(f"the deformable attention backend {name!r} ({reason}) cannot run on {device}: {trouble}")
    return LiveBackend(name, reason)


def backend_name(backend: str, *, device: str, dim: int, levels: int, points: int, gradients: bool) -> str:
    """Name of :func:`live_backend`, which ``torch.compile`` asks once and remembers."""
    return live_backend(backend, device=device, dim=dim, levels=levels, points=points, gradients=gradients).name


# All that torch.compiler.assume_constant_result does; the call would load the whole compiler into every process.
backend_name._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _fastest(device: str, *, dim: int, levels: int, points: int, gradients: bool) -> LiveBackend:
    """The automatic choice; it warns, once, when that is the slow reference although a kernel was expected."""
    if device not in _FASTEST:
        return LiveBackend("reference", f"there is no kernel for {device}")
    name = _FASTEST[device]
    trouble = _trouble(name, device=device, dim=dim, levels=levels, points=points, gradients=gradients)
    if trouble:
        text = f"deformable attention takes the slow reference, {name} cannot run on {device}: {trouble}"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
        return LiveBackend("reference", f"{name} cannot run: {trouble}")
    return LiveBackend(name, f"fastest for {device}, agrees with the reference")


@functools.cache
def _trouble(name: str, *, device: str, dim: int, levels: int, points: int, gradients: bool) -> str:
    """Why an implementation cannot be used for these sizes; empty when it can."""
    if name == "reference":
        return ""
    try:
        importlib.import_module(_MODULES[name])
    except ImportError as error:
        return f"{error}"
    measure = functools.partial(
        _difference, name, device=device, dim=dim, levels=levels, points=points, gradients=gradients
    )
    try:
        difference = _with_real_numbers(measure, device=device)
    except ValueError as error:
        return f"{error}"
    return "" if difference <= TOLERANCE else f"it differs from the reference by {difference:.1e}"


def _with_real_numbers(measure: Callable[[], float], *, device: str) -> float:
    """The result of ``measure``, whatever mode the caller is in: inference, autocast, fake tensors."""
    if type(torch.empty(0)) is torch.Tensor:
        # Activation checkpointing counts what is saved in the meantime, so it must not see this.
        unseen = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False), unseen:
            return measure()
    # Modes that replace tensors belong to a thread, a fresh one has none. It is the exception, because gradients
    # computed off the main thread can make torch abort when the process ends right afterwards.
    with ThreadPoolExecutor(1) as fresh:
        return fresh.submit(measure).result()


def _difference(name: str, *, device: str, dim: int, levels: int, points: int, gradients: bool) -> float:
    """Largest difference from the reference on a small random input, gradients included when wanted; inf for nan."""
    numbers = torch.Generator().manual_seed(0)
    sides = [side for level in range(levels) for side in (2 + level, 3)]
    cells = sum(3 * (2 + level) for level in range(levels))
    drawn = (
        torch.rand(1, cells, 2, dim, generator=numbers) - 0.5,
        torch.rand(1, 3, 2, levels, points, 2, generator=numbers) * 1.4 - 0.2,
        torch.rand(1, 3, 2, levels, points, generator=numbers),
    )
    probe = torch.rand(1, 3, 2 * dim, generator=numbers).to(device)
    found = []
    for run in (BACKENDS[name], _reference):
        inputs = [x.to(device).requires_grad_(gradients) for x in drawn]
        result = run(AttentionInputs(inputs[0], sides, *inputs[1:]))
        found.append([result.detach(), *(torch.autograd.grad(result, inputs, probe) if gradients else ())])
    differences = [(a - b).abs().max() / b.abs().max().clamp(min=1) for a, b in zip(*found, strict=True)]
    return torch.stack(differences).nan_to_num(nan=float("inf")).max().item()
