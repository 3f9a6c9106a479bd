"""How a training step is spread over processes: every process holds all weights (DDP), or a share of them (FSDP).

Which it is is decided by how the run was started (``accelerate launch`` with one of ``configs/accelerate``), not by the
network, which knows nothing of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.engine.optim import ParameterGroup, optimizer_tensors, restore_optimizer
from mvplm.engine.settings import OptimizerSettings, TrainerSettings
from mvplm.engine.weights import load_weights, unique_state

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

    def check(self, settings: TrainerSettings, optimizer: OptimizerSettings) -> None:
        """Refuse settings that do not go with this way of spreading a step.

        Raises:
            ValueError: the message names the setting and what to use instead.
        """

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

    def drive(self, step: nn.Module, optimizer: torch.optim.Optimizer, *, settings: TrainerSettings) -> nn.Module:
        """The wrapped step as it is to be called from now on, once the optimiser is made."""
        return step

    def backward(self, step: nn.Module, loss: Tensor) -> None:
        """Add the gradients of a loss that ``step`` gave."""
        loss.backward()

    def update(
        self,
        step: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        parameters: Sequence[nn.Parameter],
        loss: Tensor,
        clip_norm: float | None,
    ) -> tuple[Tensor, Tensor]:
        """Clip the gradients, step, forget the gradients; nothing changes where loss or gradients are not finite.

        Returns:
            Norm of the gradients before clipping, and a bool: the step was skipped. Both scalars, on the device.
        """
        norm = complete(nn.utils.clip_grad_norm_(parameters, clip_norm or float("inf")))
        bad = ~(torch.isfinite(loss) & torch.isfinite(norm))
        # The fused kernel leaves weights and moments alone where found_inf is 1: a bad step is skipped without a read.
        optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norm, bad

    def model_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Complete weights for a checkpoint; every process must call it."""
        return self.whole(unique_state(model))

    def optimizer_tensors(
        self, optimizer: torch.optim.Optimizer, groups: Sequence[ParameterGroup]
    ) -> dict[str, Tensor]:
        """Complete state of the optimiser for a checkpoint, named ``<parameter>/<key>``; every process must call it."""
        return self.whole(optimizer_tensors(optimizer, groups))

    def load_model(self, model: nn.Module, path: Path, *, may_lack: Sequence[str] = ()) -> None:
        """Take complete weights from a safetensors file, but for names it may lack; errors as of ``load_weights``."""
        load_weights(model, path, allow_missing=may_lack, place=self.place)

    def load_optimizer(
        self,
        optimizer: torch.optim.Optimizer,
        groups: Sequence[ParameterGroup],
        *,
        tensors: Mapping[str, Tensor],
    ) -> None:
        """Take what ``optimizer_tensors`` returned; errors as of ``restore_optimizer``."""
        restore_optimizer(optimizer, groups, tensors=tensors, place=self.place)

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

    def check(self, settings: TrainerSettings, optimizer: OptimizerSettings) -> None:
        """Refuse fp16 and Muon."""
        if optimizer.kind == "muon":
            raise ValueError("optim.kind=muon needs whole matrices, and sharded weights are pieces of them; use adamw")
        if settings.precision == "fp16":
            raise ValueError("fp16 does not go with sharded weights; use bf16")

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
    """What the launcher asked for: ``sharded`` (FSDP) and the options of ``Sharded``, or the section of ``Zero``."""

    sharded: bool
    reshard: bool = True
    offload: bool = False
    zero: Mapping[str, Any] | None = None


def launched_plan() -> LaunchedPlan:
    """The plan of ``accelerate launch``, read from what its configuration file left in the environment.

    Raises:
        ValueError: a kind of sharding that is not supported; the message says which is.
    """
    from accelerate.utils import FullyShardedDataParallelPlugin, parse_flag_from_env
    from torch.distributed.fsdp import CPUOffloadPolicy

    if parse_flag_from_env("ACCELERATE_USE_MEGATRON_LM"):
        raise ValueError("Megatron-LM is not supported; fsdp.yaml in configs/accelerate shares out weights")
    if parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"):
        from mvplm.engine.zero import launched_zero

        return LaunchedPlan(sharded=False, zero=launched_zero())
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
    if plan.zero is not None and processes > 1:
        from mvplm.engine.zero import Zero

        return Zero(device, processes, section=plan.zero)
    if plan.sharded and processes > 1:
        return Sharded(device, processes, reshard=plan.reshard, offload=plan.offload)
    return Replicated(device, processes)
