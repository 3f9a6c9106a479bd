"""Weights into a model, strictly: copied into the parameters there are, or taking their place."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mvplm.engine.checkpoint import EMA_FILE, MODEL_FILE, Checkpoint


def unique_state(model: nn.Module) -> dict[str, Tensor]:
    """State dict of ``model`` in which every tensor has one name (the first of tied ones)."""
    seen: set[tuple[Any, ...]] = set()
    unique: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        if hasattr(value, "to_local"):  # shared out over processes; its name is its own
            unique[name] = value
            continue
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if value.numel() and value.device.type != "meta" and key in seen:
            continue
        seen.add(key)
        unique[name] = value
    return unique


@dataclass(frozen=True)
class LoadReport:
    """What a load did: names taken, missing in the file, unexpected in the file, and of another shape."""

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.loaded} tensors loaded"]
        for kind in ("missing", "unexpected", "mismatched"):
            names = getattr(self, kind)
            if names:
                rest = f" ... and {len(names) - 8} more" if len(names) > 8 else ""
                lines.append(f"{len(names)} {kind}: {', '.join(names[:8])}{rest}")
        return "\n  ".join(lines)


def load_weights(
    model: nn.Module,
    state: Mapping[str, Tensor] | str | Path,
    *,
    allow_missing: Sequence[str] = (),
    skip: Sequence[str] = (),
    place: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> LoadReport:
    """Copy weights into ``model``, strictly.

    Args:
        model: changed in place; only when everything fits.
        state: tensors by name, or a safetensors file.
        allow_missing: name prefixes that the file may lack.
        skip: name prefixes that are not taken from the file; the model keeps its own values there.
        place: makes of a tensor and the model's own one what is copied, where that is a share of it; None: all of it.

    Raises:
        ValueError: names missing, unexpected, or of another shape; the message is the full report.
    """
    source = str(state) if isinstance(state, (str, Path)) else "the given tensors"
    tensors = load_file(state) if isinstance(state, (str, Path)) else state
    tensors = {name: value for name, value in tensors.items() if not name.startswith(tuple(skip))}
    report = _fit(model, tensors, source=source, may_lack=(*allow_missing, *skip))
    own = model.state_dict()
    with torch.no_grad():
        for name in tensors:
            own[name].copy_(tensors[name] if place is None else place(tensors[name], own[name]))
    return report


def load_trained(
    model: nn.Module, checkpoint: Checkpoint, *, allow_missing: Sequence[str] = (), skip: Sequence[str] = ()
) -> None:
    """Copy the weights of a checkpoint into ``model``, and over them their averages where it has any.

    Arguments and errors are those of :func:`load_weights`.
    """
    load_weights(model, checkpoint.path / MODEL_FILE, allow_missing=allow_missing, skip=skip)
    average = checkpoint.path / EMA_FILE
    if average.is_file():
        load_weights(model, average, allow_missing=("",), skip=skip)


def frozen_weights(model: nn.Module) -> list[str]:
    """Names of the parameters that are not trained."""
    return [name for name, parameter in model.named_parameters() if not parameter.requires_grad]


@contextmanager
def parameters_on_meta() -> Iterator[None]:
    """Modules made inside have parameters without memory and buffers with values, which no weights file holds.

    It holds for every thread of the process.
    """
    handle = register_module_parameter_registration_hook(_on_meta)
    try:
        yield
    finally:
        handle.remove()


def _on_meta(*registered: Any) -> nn.Parameter | None:
    """What is registered in place of (module, name, parameter); None leaves it, as a tied one that was here before."""
    parameter = registered[-1]
    if parameter is None or parameter.device.type == "meta":
        return None
    return nn.Parameter(parameter.detach().to("meta"), requires_grad=parameter.requires_grad)


def adopt_weights(model: nn.Module, path: str | Path, *, dtype_of: Callable[[str, Tensor], torch.dtype]) -> LoadReport:
    """Make the tensors of a safetensors file the weights of ``model``, strictly.

    The parameters of the model may be on the meta device: they are replaced, dtypes included.

    Args:
        model: changed in place; only when everything fits.
        path: a safetensors file with every parameter and persistent buffer.
        dtype_of: the dtype to keep a named tensor in.

    Raises:
        ValueError: names missing, unexpected, or of another shape; the message is the full report.
    """
    tensors = load_file(path)
    report = _fit(model, tensors, source=str(path), may_lack=())
    # One tensor at a time: its form in the file is let go before the next one is read.
    kept = {}
    for name in list(tensors):
        value = tensors.pop(name)
        # A copy, not the file's own pages: the file may be replaced while the model lives.
        kept[name] = value.to(dtype_of(name, value), copy=True)
    model.load_state_dict(kept, strict=True, assign=True)
    return report


def _fit(model: nn.Module, tensors: Mapping[str, Tensor], *, source: str, may_lack: tuple[str, ...]) -> LoadReport:
    own, wanted = model.state_dict(), unique_state(model)
    missing = tuple(name for name in wanted if name not in tensors)
    unexpected = tuple(name for name in tensors if name not in own)
    common = [name for name in tensors if name in own]
    mismatched = tuple(
        f"{name} (file {tuple(tensors[name].shape)}, model {tuple(own[name].shape)})"
        for name in common
        if tensors[name].shape != own[name].shape
    )
    report = LoadReport(len(common) - len(mismatched), missing, unexpected, mismatched)
    refused = [name for name in missing if not name.startswith(may_lack)]
    if refused or unexpected or mismatched:
        raise ValueError(f"{source} does not fit the model:\n  {replace(report, missing=tuple(refused))}")
    return report
