"""DeepSpeed's ZeRO: every process holds a share of gradients and optimiser state, with stage 3 also of the weights.

DeepSpeed takes over backward pass, clipping and the step of the optimiser it is given. Checkpoints are the same files
with the same names as everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from mvplm.engine.optim import ParameterGroup, optimizer_states
from mvplm.engine.parallel import Replicated
from mvplm.engine.settings import OptimizerSettings, TrainerSettings
from mvplm.engine.weights import load_weights, unique_state

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
    if section["stage"] not in (2, 3):
        raise ValueError(f"ZeRO is supported as stage 2 or 3, got {section['stage']}; without it there is ddp.yaml")
    for key in ("offload_optimizer", "offload_param"):
        if (section.pop(key, None) or {}).get("device", "none") != "none":
            raise ValueError(
                f"{key} is not supported; fsdp.yaml with fsdp_offload_params: true keeps shares on the host"
            )
    return section


class Zero(Replicated):
    """Every process holds a share of gradients and optimiser state, with stage 3 also of the weights (DeepSpeed).

    Args:
        device: of this process.
        processes: how many train together.
        section: ``zero_optimization`` of a DeepSpeed configuration.
    """

    def __init__(self, device: torch.device, processes: int, *, section: Mapping[str, Any]) -> None:
        super().__init__(device, processes)
        self.section = dict(section)
        self.sharded = section["stage"] == 3
        self._engine: Any = None

    def check(self, settings: TrainerSettings, optimizer: OptimizerSettings) -> None:
        """Refuse fp16, compilation, and with stage 3 averaged weights."""
        if settings.precision == "fp16":
            raise ValueError("fp16 does not go with DeepSpeed here; use bf16")
        if settings.compile:
            raise ValueError("train.compile does not go with DeepSpeed; set it to false, or use FSDP (fsdp.yaml)")
        if self.sharded and optimizer.ema_decay is not None:
            raise ValueError("optim.ema_decay does not go with ZeRO stage 3; set it to null, or use FSDP (fsdp.yaml)")

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

    def model_tensors(self, model: nn.Module) -> dict[str, Tensor]:
        """Complete weights for a checkpoint, on the host; every process must call it."""
        with self._gathered(model, changed=False):
            return {name: value.to("cpu", copy=True) for name, value in unique_state(model).items()}

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

    def load_model(self, model: nn.Module, path: Path) -> None:
        """Take complete weights from a safetensors file; errors as of ``load_weights``."""
        with self._gathered(model, changed=True):
            load_weights(model, path)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    self._put(parameter, parameter.detach())

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
        states = optimizer_states(groups, tensors)
        count = max((float(state["step"]) for state in states.values()), default=0.0)
        for share in optimizer.state.values():
            share["step"].fill_(count)
        for name, parameter in _named(groups):
            shape = getattr(parameter, "ds_shape", parameter.shape)
            for key in _MOMENTS:
                value = states[name][key] if name in states else torch.zeros(shape)
                self._put(parameter, value.to(self.device), key=key)

    def _put(self, parameter: nn.Parameter, value: Tensor, *, key: str | None = None) -> None:
        """Give DeepSpeed a complete tensor: the optimiser's state ``key`` of a parameter, or without it, its values."""
        from deepspeed import utils

        if self.sharded:
            value, put_values = self._share(value, parameter), utils.safe_set_local_fp32_param
            put_state = utils.safe_set_local_optimizer_state
        else:
            put_values, put_state = utils.safe_set_full_fp32_param, utils.safe_set_full_optimizer_state
        if key is None:
            put_values(parameter, value)
        else:
            put_state(parameter, value, key)

    def _share(self, value: Tensor, parameter: nn.Parameter) -> Tensor:
        """What this process holds of a complete tensor. DeepSpeed's own way to it fails where shares are uneven."""
        size = parameter.ds_tensor.numel()
        filled = nn.functional.pad(value.flatten(), (0, size * self.processes - value.numel()))
        return filled[size * distributed.get_rank() :][:size]

    def _begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the state of every flat share of parameters.

        Left to the first step, DeepSpeed's stage 2 would tie it to the parameters of the first group alone.
        """
        zero = self._engine.optimizer
        for share in zero.fp32_partitioned_groups_flat if self.sharded else zero.single_partition_of_fp32_groups:
            moments = {key: torch.zeros_like(share, requires_grad=False) for key in _MOMENTS}
            optimizer.state[share] = {"step": torch.zeros((), device=share.device), **moments}
        if not self.sharded:
            zero._lazy_init_hp_params_optimizer_state()

    def _gathered(self, model: nn.Module, *, changed: bool) -> AbstractContextManager[Any]:
        """Within the block ``model`` has all its weights; those of the first process are shared out if ``changed``."""
        if not self.sharded:
            return nullcontext()
        import deepspeed

        return deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0 if changed else None)


def _named(groups: Sequence[ParameterGroup]) -> Iterator[tuple[str, nn.Parameter]]:
    for group in groups:
        yield from zip(group.names, group.parameters, strict=True)
