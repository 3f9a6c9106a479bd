"""DeepSpeed's ZeRO, stage 2: every process holds all weights and a share of gradients and optimiser state.

DeepSpeed takes over backward pass, clipping and the step of the optimiser it is given. Checkpoints are the same files
with the same names as everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvplm.engine.optim import ParameterGroup, optimizer_states
from mvplm.engine.parallel import Replicated
from mvplm.engine.settings import OptimizerSettings, TrainerSettings

_MOMENTS = ("exp_avg", "exp_avg_sq")
_DECIDED_BY_THE_RUN = {"optimizer", "scheduler", "fp16", "bf16"}


def launched_zero() -> dict[str, Any]:
    """The section ``zero_optimization`` of what ``accelerate launch`` was given, without what is left to DeepSpeed.

    Raises:
        ValueError: DeepSpeed is not installed, or something is asked for that is not supported.
    """
    from accelerate.utils import DeepSpeedPlugin, is_deepspeed_available

    if not is_deepspeed_available():
        raise ValueError(
            "DeepSpeed is not installed: pip install 'mvplm[deepspeed]'. Without it, fsdp.yaml and fsdp_zero2.yaml in "
            "configs/accelerate share out weights, gradients and optimiser state"
        )
    config = DeepSpeedPlugin().deepspeed_config
    if twice := sorted(_DECIDED_BY_THE_RUN & config.keys()):
        raise ValueError(f"remove {', '.join(twice)} from the DeepSpeed file: train and optim of the run decide it")
    section = {key: value for key, value in config["zero_optimization"].items() if value != "auto"}
    if section["stage"] == 3:
        # Its hooks follow tensors through the outputs of all modules, but not into dataclasses or mappings by number.
        raise ValueError("ZeRO stage 3 does not go with these networks: fsdp.yaml in configs/accelerate does the same")
    if section["stage"] != 2:
        raise ValueError(f"ZeRO is supported as stage 2, got {section['stage']}; without sharing there is ddp.yaml")
    for key in ("offload_optimizer", "offload_param"):
        if (section.pop(key, None) or {}).get("device", "none") != "none":
            raise ValueError(
                f"{key} is not supported; fsdp.yaml with fsdp_offload_params: true keeps shares on the host"
            )
    return section


class Zero(Replicated):
    """Every process holds all weights and a share of gradients and optimiser state (DeepSpeed).

    Args:
        device: of this process.
        processes: how many train together.
        section: ``zero_optimization`` of a DeepSpeed configuration, stage 2.
    """

    def __init__(self, device: torch.device, processes: int, *, section: Mapping[str, Any]) -> None:
        super().__init__(device, processes)
        self.section = dict(section)
        self._engine: Any = None

    def check(self, settings: TrainerSettings, optimizer: OptimizerSettings) -> None:
        """Refuse fp16, compilation and Muon."""
        if optimizer.kind == "muon":
            raise ValueError("optim.kind=muon needs whole matrices, and DeepSpeed flattens them; use adamw")
        if settings.precision == "fp16":
            raise ValueError("fp16 does not go with DeepSpeed here; use bf16")
        if settings.compile:
            raise ValueError("train.compile does not go with DeepSpeed; set it to false, or use FSDP (fsdp_zero2.yaml)")

    def wrap(self, step: nn.Module, *, compile: bool = False) -> nn.Module:
        """The step as it is: DeepSpeed wraps it together with the optimiser."""
        return step

    def drive(self, step: nn.Module, optimizer: torch.optim.Optimizer, *, settings: TrainerSettings) -> nn.Module:
        """Hand step and optimiser to DeepSpeed, which shares out their tensors (in place)."""
        import deepspeed

        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": settings.accumulation,
            "gradient_clipping": settings.clip_norm or 0.0,
            "zero_optimization": self.section,
        }
        self._engine = deepspeed.initialize(model=step, optimizer=optimizer, config=config, dist_init_required=False)[0]
        self._begin(optimizer)
        return self._engine

    def exchange(self, step: nn.Module, *, wanted: bool) -> None:
        """Whether the next backward pass is the last one of a step."""
        self._engine.set_gradient_accumulation_boundary(wanted)

    def backward(self, step: nn.Module, loss: Tensor) -> None:
        """Add the gradients of a loss that ``step`` gave."""
        self._engine.backward(loss, scale_wrt_gas=False)

    def update(
        self,
        step: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        parameters: Sequence[nn.Parameter],
        loss: Tensor,
        clip_norm: float | None,
    ) -> tuple[Tensor, Tensor]:
        """As of ``Replicated``. DeepSpeed itself skips a step whose gradients are not finite and gives inf as norm."""
        optimizer.found_inf = (~torch.isfinite(loss)).float()  # type: ignore[attr-defined]
        self._engine.step()
        norm = torch.as_tensor(self._engine.get_global_grad_norm(), device=self.device, dtype=torch.float32)
        return norm, ~(torch.isfinite(loss) & torch.isfinite(norm))

    def optimizer_tensors(
        self, optimizer: torch.optim.Optimizer, groups: Sequence[ParameterGroup]
    ) -> dict[str, Tensor]:
        """Complete state of the optimiser for a checkpoint, named ``<parameter>/<key>``; every process must call it."""
        from deepspeed.utils import safe_get_full_optimizer_state

        count = next(iter(optimizer.state.values()))["step"]
        found: dict[str, Tensor] = {}
        for name, parameter in _named(groups):
            found[f"{name}/step"] = count.to("cpu", copy=True)
            for key in _MOMENTS:
                found[f"{name}/{key}"] = safe_get_full_optimizer_state(parameter, key).cpu()
        return found

    def load_model(self, model: nn.Module, path: Path, *, may_lack: Sequence[str] = ()) -> None:
        """Take complete weights from a safetensors file, but for names it may lack; errors as of ``load_weights``."""
        from deepspeed.utils import safe_set_full_fp32_param

        super().load_model(model, path, may_lack=may_lack)
        for parameter in model.parameters():
            if parameter.requires_grad:
                safe_set_full_fp32_param(parameter, parameter.detach())

    def load_optimizer(
        self,
        optimizer: torch.optim.Optimizer,
        groups: Sequence[ParameterGroup],
        *,
        tensors: Mapping[str, Tensor],
    ) -> None:
        """Take what ``optimizer_tensors`` returned, here or without DeepSpeed.

        DeepSpeed counts the steps of all parameters together: the largest count of the checkpoint is taken.

        Raises:
            ValueError: as of ``restore_optimizer``.
        """
        from deepspeed.utils import safe_set_full_optimizer_state

        states = optimizer_states(groups, tensors)
        count = max((float(state["step"]) for state in states.values()), default=0.0)
        for share in optimizer.state.values():
            share["step"].fill_(count)
        for name, parameter in _named(groups):
            for key in _MOMENTS:
                value = states[name][key].to(self.device) if name in states else torch.zeros_like(parameter)
                safe_set_full_optimizer_state(parameter, value.detach(), key)

    def _begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the state of every flat share of parameters.

        Left to the first step, DeepSpeed would tie it to the parameters of the first group alone.
        """
        for share in self._engine.optimizer.single_partition_of_fp32_groups:
            moments = {key: torch.zeros_like(share, requires_grad=False) for key in _MOMENTS}
            optimizer.state[share] = {"step": torch.zeros((), device=share.device), **moments}
        self._engine.optimizer._lazy_init_hp_params_optimizer_state()


def _named(groups: Sequence[ParameterGroup]) -> Iterator[tuple[str, nn.Parameter]]:
    for group in groups:
        yield from zip(group.names, group.parameters, strict=True)
