"""What this machine offers, as rows for a diagnosis."""

import os
import platform
from importlib import metadata

import torch

from mvplm.structures.versions import library_versions


def describe_environment() -> dict[str, str]:
    """Versions, platform, devices, threads and bf16 support; label -> value, in the order to show them."""
    rows = {**library_versions(), "platform": platform.platform(), "processor cores": str(os.cpu_count())}
    rows["torch threads"] = str(torch.get_num_threads())
    rows["device"] = _device()
    rows["bf16"] = _bf16()
    rows["tensorboard"] = "available" if _installed("tensorboard") else "not installed (optional)"
    return rows


def _device() -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"cuda: {', '.join(names)} (CUDA {torch.version.cuda})"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def chosen_device(name: str) -> torch.device:
    """The device of a name; "auto" takes a GPU when there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def works_on_cpu(name: str) -> bool:
    """Whether a device name means the CPU; "auto" does where there is nothing faster.

    Accelerate has to be told: launched processes that it thinks to be on GPUs do not meet where there is none.
    """
    return name == "cpu" or (name == "auto" and not torch.accelerator.is_available())


def native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 on a device: it has instructions for it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, flag, lambda: False)()) for flag in flags)


def precision_advice(precision: str, device: torch.device) -> str | None:
    """A sentence for who trains in a precision that the device only emulates; None where there is nothing to say."""
    if precision != "bf16" or native_bf16(device):
        return None
    return f"bf16 is emulated on this {device.type} and can be many times slower than fp32: train.precision=fp32"


def _bf16() -> str:
    if torch.cuda.is_available():
        return "native" if native_bf16(torch.device("cuda")) else "emulated (use fp32)"
    capability = torch.backends.cpu.get_cpu_capability()
    return "native" if native_bf16(torch.device("cpu")) else f"works, but slower than fp32 here ({capability})"


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
