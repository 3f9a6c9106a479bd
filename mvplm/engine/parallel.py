"""How a training step is spread over processes: every process holds all weights (DDP), or a share of them (FSDP).

Which it is is decided by how the run was started (``accelerate launch`` with one of ``configs/accelerate``), not by the
network, which knows nothing of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Smaller modules are not worth an exchange of their own; they travel with the module around them.
_LEAST_VALUES = 1_000_000


class Replicated:
    """Every process holds all weights; gradients are averaged. One process alone is the simplest case.

    Args:
        device: of this process.
        processes: how many train together.
    """

    sharded = False

    def __init__(self, device: torch.device, processes: int) -> None:
        self.device = device
        self.processes = processes

    def wrap(self, step: nn.Module, *, compile: bool = False) -> nn.Module:
        """The training step as it is to be called. Parameters may be exchanged: make the optimiser afterwards."""
        if compile:
            step = torch.compile(step)
        if self.processes == 1:
            return step
        # A batch of one family leaves the other family's heads without gradients.
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(step, device_ids=devices, find_unused_parameters=True)

    def exchange(self, step: nn.Module, *, wanted: bool) -> None:
        """Whether the next backward passes average the gradients over the processes."""
        if isinstance(step, nn.parallel.DistributedDataParallel):
            step.require_backward_grad_sync = wanted

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The named tensors complete; every process must call it with the same names."""
        return dict(tensors)

    def place(self, value: Tensor, parameter: Tensor) -> Tensor:
        """A complete tensor as a copy that belongs to ``parameter``."""
        return value.to(parameter.device, copy=True)


class Sharded(Replicated):
    """Every process holds a share of weights, gradients and optimiser state (FSDP).

    Args:
        device: of this process.
        processes: how many train together.
        reshard: let go of gathered weights after the forward pass and gather them again in the backward pass.
        offload: keep the shares in the memory of the host.
        least_values: elements of module lists with at least so many parameters are gathered on their own.
    """

    sharded = True

    def __init__(
        self,
        device: torch.device,
        processes: int,
        *,
        reshard: bool = True,
        offload: bool = False,
        least_values: int = _LEAST_VALUES,
    ) -> None:
        super().__init__(device, processes)
        self.reshard = reshard
        self.offload = offload
        self.least_values = least_values

    def wrap(self, step: nn.Module, *, compile: bool = False) -> nn.Module:
        """Share out the parameters of ``step`` (in place) and return it."""
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard

        options: dict[str, Any] = {
            "mesh": init_device_mesh(self.device.type, (self.processes,)),
            "reshard_after_forward": self.reshard,
            "offload_policy": CPUOffloadPolicy() if self.offload else OffloadPolicy(),
        }
        for block in blocks(step, least_values=self.least_values):
            fully_shard(block, **options)
        fully_shard(step, **options)
        if compile:
            step.compile()
        return step

    def exchange(self, step: nn.Module, *, wanted: bool) -> None:
        """Whether the next backward passes average the gradients over the processes."""
        step.set_requires_gradient_sync(wanted)

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The named tensors complete, on the host; every process must call it with the same names."""
        return {name: complete(value).cpu() for name, value in tensors.items()}

    def place(self, value: Tensor, parameter: Tensor) -> Tensor:
        """This process's share of a complete tensor; numbers such as a step count stay whole."""
        from torch.distributed.tensor import distribute_tensor

        if value.ndim == 0 or not hasattr(parameter, "device_mesh"):
            return value.to(self.device, copy=True)
        return distribute_tensor(value.to(self.device), parameter.device_mesh, parameter.placements)


def complete(value: Tensor) -> Tensor:
    """A tensor that may be shared out over processes, as a whole."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def blocks(module: nn.Module, *, least_values: int = _LEAST_VALUES) -> list[nn.Module]:
    """Elements of module lists with at least ``least_values`` parameters, none inside another."""
    found: list[nn.Module] = []
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            for element in child:
                large = sum(parameter.numel() for parameter in element.parameters()) >= least_values
                found += [element] if large else blocks(element, least_values=least_values)
        else:
            found += blocks(child, least_values=least_values)
    return found


@dataclass(frozen=True)
class LaunchedPlan:
    """What the launcher asked for: ``sharded``, and the options of ``Sharded``."""

    sharded: bool
    reshard: bool = True
    offload: bool = False


def launched_plan() -> LaunchedPlan:
    """The plan of ``accelerate launch``, read from what its configuration file left in the environment.

    Raises:
        ValueError: a kind of sharding that is not supported; the message says which is.
    """
    from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
    from torch.distributed.fsdp import CPUOffloadPolicy

    for flag, kind in (("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")):
        if parse_flag_from_env(flag):
            raise ValueError(
                f"{kind} is not supported; fsdp.yaml and fsdp_zero2.yaml in configs/accelerate share out "
                "what its ZeRO stages 3 and 2 do"
            )
    if not parse_flag_from_env("ACCELERATE_USE_FSDP"):
        return LaunchedPlan(sharded=False)
    plugin = FullyShardedDataParallelPlugin()
    if plugin.fsdp_version != 2:
        raise ValueError("FSDP is supported as version 2: set fsdp_version: 2, as configs/accelerate/fsdp.yaml does")
    return LaunchedPlan(
        True, reshard=bool(plugin.reshard_after_forward), offload=isinstance(plugin.cpu_offload, CPUOffloadPolicy)
    )


def spread(device: torch.device, processes: int) -> Replicated:
    """How this run is spread over its processes."""
    plan = launched_plan()
    if plan.sharded and processes > 1:
        return Sharded(device, processes, reshard=plan.reshard, offload=plan.offload)
    return Replicated(device, processes)
