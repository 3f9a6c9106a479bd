"""What a training run can be told: plain validated values, no config library."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mvplm.structures.choices import check_choice

PRECISIONS = ("fp32", "bf16", "fp16")
SCHEDULES = ("cosine", "linear", "constant")
OPTIMIZERS = ("adamw", "muon")


@dataclass(frozen=True)
class OptimizerSettings:
    """The optimiser and its schedule. Source: MVP-LM, training recipes (betas, eps and the decay rule are ours).

    Attributes:
        kind: "adamw", or "muon": orthogonalised momentum for matrices of hidden layers, AdamW for all else.
        convolutions: with "muon", kernels of convolutions are among those matrices.
        lr: peak learning rate of parameters whose scale is 1.
        weight_decay: for matrices and convolutions only.
        betas, eps: of AdamW.
        lr_scales: factor on the learning rate per parameter-name prefix, e.g. ``{"encoder.": 0.5}``; the longest
            matching prefix wins.
        warmup_ratio: share of the steps in which the rate rises linearly from 0.
        schedule: what follows: "cosine" to 0, "linear" to 0, or "constant".
        ema_decay: decay of an exponential moving average of the weights, None for no average.
        decay_only: parameter-name prefixes outside of which nothing decays; empty decays everywhere.

    Raises:
        ValueError: a value outside its range.
    """

    kind: str = "adamw"
    convolutions: bool = False
    lr: float = 4e-5
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    lr_scales: Mapping[str, float] = field(default_factory=dict)
    warmup_ratio: float = 0.03
    schedule: str = "cosine"
    ema_decay: float | None = None
    decay_only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("optimiser", self.kind, choices=OPTIMIZERS)
        check_choice("schedule", self.schedule, choices=SCHEDULES)
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.weight_decay < 0:
            raise ValueError(f"weight_decay must not be negative, got {self.weight_decay}")
        if not 0 <= self.warmup_ratio <= 1:
            raise ValueError(f"warmup_ratio must be in [0, 1], got {self.warmup_ratio}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in (0, 1) or None, got {self.ema_decay}")
        for prefix, scale in self.lr_scales.items():
            if not scale > 0:
                raise ValueError(f"lr_scales[{prefix!r}] must be positive (freeze with requires_grad), got {scale}")


@dataclass(frozen=True)
class TrainerSettings:
    """How the loop runs.

    Attributes:
        steps: optimiser steps of the whole run (the schedule's length).
        accumulation: micro-batches per optimiser step.
        clip_norm: gradient-norm limit, 0 for none.
        precision: "fp32", or "bf16" or "fp16" (autocast in the model; weights, losses and optimiser stay fp32; fp16
            scales the loss).
        compile: compile the training step with ``torch.compile``.
        device: "auto" (the fastest present) or "cpu".
        deterministic: prefer deterministic kernels; None means: on the CPU, where they cost next to nothing.
        seed: of all random draws of a run.
        num_workers: data-loading processes.
        log_every: steps between two reads of the losses from the device.
        nonfinite_limit: so many steps with a non-finite loss in a row end the run; 0 ends it at the first.
        max_seconds: stop cleanly after this time, None for never.
        trained_only: checkpoints hold no frozen parameters; the model that resumes must have them already.

    Raises:
        ValueError: a value outside its range.
    """

    steps: int
    accumulation: int = 1
    clip_norm: float = 1.0
    precision: str = "fp32"
    compile: bool = False
    device: str = "auto"
    deterministic: bool | None = None
    seed: int = 0
    num_workers: int = 0
    log_every: int = 20
    nonfinite_limit: int = 10
    max_seconds: float | None = None
    trained_only: bool = False

    def __post_init__(self) -> None:
        check_choice("precision", self.precision, choices=PRECISIONS)
        check_choice("device", self.device, choices=("auto", "cpu"))
        for name in ("steps", "accumulation", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("clip_norm", "num_workers", "nonfinite_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
