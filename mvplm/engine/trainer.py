"""The training loop: data, forward, losses, backward, clip, step, schedule, hooks."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mvplm.engine.checkpoint import (
    EMA_FILE,
    MODEL_FILE,
    Checkpoint,
    CheckpointStore,
    open_checkpoint,
)
from mvplm.engine.ema import WeightAverage
from mvplm.engine.environment import precision_advice, works_on_cpu
from mvplm.engine.hooks import Hook
from mvplm.engine.loss_scale import LossScale
from mvplm.engine.losslog import LossLog, StepLosses
from mvplm.engine.optim import (
    Schedule,
    build_optimizer,
    format_groups,
    keep_frozen_statistics,
    parameter_groups,
    set_learning_rate,
)
from mvplm.engine.parallel import spread
from mvplm.engine.seeds import capture_rng, restore_rng, seed_everything, step_seed
from mvplm.engine.settings import OptimizerSettings, TrainerSettings
from mvplm.engine.signals import StopSignals
from mvplm.engine.step import TrainingStep
from mvplm.engine.weights import frozen_weights
from mvplm.structures.versions import library_versions

_LOGGER = logging.getLogger("mvplm.engine")


class Mixture(Protocol):
    """Where batches come from: an endless sequence that is a pure function of its seed and the micro-step."""

    def batches(self, start_step: int, *, num_workers: int = 0) -> Iterator[tuple[int, Any]]:
        """Yield (micro-step, batch) from ``start_step`` on."""

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready place in the sequence, stored in checkpoints."""

    def load_state_dict(self, state: Mapping[str, Any], *, step: int | None = None) -> None:
        """Continue at a place; the next micro-step gets the number ``step``."""


class Weights(Protocol):
    """The one place that weights and sums losses."""

    def total(self, losses: dict[str, Tensor]) -> Tensor:
        """Weighted scalar sum of named losses."""


@dataclass(frozen=True)
class TrainSummary:
    """How a call of ``train`` ended.

    Attributes:
        step: completed optimiser steps, those before a resume included.
        interrupted: name of the signal that ended it, or None.
        skipped: steps skipped because of a non-finite loss.
        seconds: wall time of this call.
    """

    step: int
    interrupted: str | None
    skipped: int
    seconds: float


class Trainer:
    """Trains ``model`` with the batches of ``mixture``.

    Attributes:
        model: the unwrapped network, on its device. average: averaged weights, or None.
        step: completed optimiser steps. start_step: those completed before this call of ``train``.
        interrupted: name of a received stop signal, or None.
        seconds, data_seconds: time since the loop began, and the part of it spent waiting for batches.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Callable[..., dict[str, Tensor]],
        *,
        weights: Weights,
        mixture: Mixture,
        settings: TrainerSettings,
        optimizer: OptimizerSettings | None = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        """Place the model (in place) and build optimiser, schedule and average.

        Args:
            model: network; ``model(batch)`` gives the criterion's input, ``model.caption_loss(batch)`` a scalar.
            criterion: (output, batch) -> unweighted named losses.
            weights: sums them.
            mixture: see ``Mixture``.
            settings: of the loop.
            optimizer: of AdamW and its schedule; defaults to the paper's second stage.
            hooks: run in this order at every point.
        """
        from accelerate import Accelerator

        self.settings = settings
        self.optimizer_settings = optimizer or OptimizerSettings()
        self.accelerator = Accelerator(cpu=works_on_cpu(settings.device))
        self.device = torch.device("cpu") if settings.device == "cpu" else self.accelerator.device
        self.model = model.to(self.device)
        self.spread = spread(self.device, self.accelerator.num_processes)
        self.spread.check(settings, self.optimizer_settings)
        self._module = self.spread.wrap(
            TrainingStep(model, criterion, precision=settings.precision), compile=settings.compile
        )
        self.weights = weights
        self.mixture = mixture
        self.hooks = tuple(hooks)
        self.groups = parameter_groups(model, self.optimizer_settings)
        self.optimizer = build_optimizer(self.groups, self.optimizer_settings)
        self.schedule = Schedule(settings.steps, self.optimizer_settings.warmup_ratio, self.optimizer_settings.schedule)
        decay = self.optimizer_settings.ema_decay
        self.average = None if decay is None else WeightAverage(model, decay)
        self._module = self.spread.drive(self._module, self.optimizer, settings=settings)
        self.step = self.start_step = 0
        self.interrupted: str | None = None
        self.seconds = self.data_seconds = 0.0
        self._losses = LossLog(settings.nonfinite_limit, processes=self.accelerator.num_processes)
        self._scale = LossScale(self.device, enabled=settings.precision == "fp16")
        self._parameters = [parameter for group in self.groups for parameter in group.parameters]
        self._left_out = tuple(frozen_weights(model)) if settings.trained_only else ()

    @property
    def is_main(self) -> bool:
        """True on the one process that writes files and talks."""
        return self.accelerator.is_main_process

    @property
    def learning_rate(self) -> float:
        """Peak-scaled rate of the next step, before the groups' own scales."""
        return self.optimizer_settings.lr * self.schedule.factor(self.step)

    def train(self, *, resume_from: str | Path | None = None) -> TrainSummary:
        """Run until ``settings.steps`` steps are done, a signal arrives or the time is up.

        Args:
            resume_from: a checkpoint (or a run's directory, for its newest); training continues bit-identically.

        Raises:
            NonFiniteLossError: too many non-finite losses in a row.
            ValueError: the checkpoint does not fit.
        """
        seed_everything(self.settings.seed)
        if resume_from is not None:
            self.restore(open_checkpoint(resume_from))
        self.start_step, self.interrupted = self.step, None
        if self.is_main:
            table = format_groups(self.model, self.groups, lr=self.optimizer_settings.lr)
            _LOGGER.info("parameter groups\n%s", table)
            if advice := precision_advice(self.settings.precision, self.device):
                _LOGGER.warning("%s", advice)
        started = time.perf_counter()
        try:
            with StopSignals() as signals, _deterministic(self._wants_determinism()):
                self._call("check")
                self._call("before_train")
                self._loop(signals)
                self.flush_losses()
                self._call("after_train")
        finally:
            for hook in self.hooks:
                hook.close()
        return TrainSummary(self.step, self.interrupted, self._losses.skipped, time.perf_counter() - started)

    def flush_losses(self) -> None:
        """Read the pending losses from the device and hand them to the hooks."""
        record = self._losses.read()
        if record is not None:
            for hook in self.hooks:
                hook.on_log(self, record)

    def publish_metrics(self, metrics: Mapping[str, float]) -> None:
        """Hand evaluation numbers to the hooks."""
        for hook in self.hooks:
            hook.on_metrics(self, metrics)

    @contextmanager
    def evaluation_model(self) -> Iterator[nn.Module]:
        """The model in evaluation mode with averaged weights; modes and weights are put back afterwards.

        Raises:
            ValueError: the weights are shared out over processes.
        """
        if self.spread.sharded:
            raise ValueError("sharded weights cannot be evaluated while they are trained: evaluate the checkpoints")
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            with self.average.applied() if self.average is not None else nullcontext():
                yield self.model
        finally:
            for module, mode in modes:
                module.training = mode

    def save_checkpoint(self, store: CheckpointStore, *, extras: Callable[[Path], None] | None = None) -> None:
        """Write a checkpoint of the present step (main process; the others wait).

        Raises:
            OSError: it cannot be written, as on a full disk; older checkpoints stay.
        """
        self.flush_losses()
        tensors = {
            "model": self._without_frozen(self.spread.model_tensors(self.model)),
            "optimizer": self.spread.optimizer_tensors(self.optimizer, self.groups),
        }
        if self.average is not None:
            tensors["ema"] = self._without_frozen(self.spread.whole(self.average.state_dict()))
        if self.is_main:
            store.save(self.step, tensors=tensors, state=self._state(), extras=extras)
        self.accelerator.wait_for_everyone()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take weights, optimiser, average, counters, generators and the place in the data from a checkpoint.

        The number of processes may differ from that of the checkpoint.

        Raises:
            ValueError: the checkpoint does not fit model or optimiser.
        """
        self.spread.load_model(self.model, checkpoint.path / MODEL_FILE, may_lack=self._left_out)
        self.spread.load_optimizer(self.optimizer, self.groups, tensors=checkpoint.tensors("optimizer") or {})
        if self.average is not None:
            average = checkpoint.tensors("ema")
            if average is None:
                raise ValueError(f"{checkpoint.path} has no {EMA_FILE}; resume with ema_decay=None")
            self.average.load_state_dict(average, place=self.spread.place)
        self.step = checkpoint.step
        self.mixture.load_state_dict(checkpoint.state["mixture"], step=self.step * self.settings.accumulation)
        if "loss_scale" in checkpoint.state:
            self._scale.restore(checkpoint.state["loss_scale"])
        self._losses.skipped = checkpoint.state["skipped"]
        self._losses.in_a_row = checkpoint.state["skipped_in_a_row"]
        self._warn_of_changes(checkpoint.state)
        restore_rng(checkpoint.state["rng"])

    def _loop(self, signals: StopSignals) -> None:
        settings = self.settings
        self.seconds = self.data_seconds = 0.0
        if self.step >= settings.steps:
            return
        self.model.train()
        keep_frozen_statistics(self.model)
        batches = self.mixture.batches(self.step * settings.accumulation, num_workers=settings.num_workers)
        started = time.perf_counter()
        try:
            while self.step < settings.steps and self.interrupted is None:
                self._train_step(batches)
                self.seconds = time.perf_counter() - started
                if self.step % settings.log_every == 0:
                    self.flush_losses()
                self._call("after_step")
                late = settings.max_seconds is not None and self.seconds >= settings.max_seconds
                signalled, late = self._agreed(signals.received is not None, late)
                if signalled:
                    self.interrupted = signals.received or "a signal to another process"
                if late:
                    break
        finally:
            if hasattr(batches, "close"):
                batches.close()

    def _train_step(self, batches: Iterator[tuple[int, Any]]) -> None:
        count = self.settings.accumulation
        set_learning_rate(self.optimizer, self.learning_rate)
        totals: list[Tensor] = []
        parts: list[dict[str, Tensor]] = []
        image_ids: list[int | str] = []
        for micro_step in range(self.step * count, (self.step + 1) * count):
            waiting = time.perf_counter()
            number, batch = next(batches)
            self.data_seconds += time.perf_counter() - waiting
            if number != micro_step:
                raise ValueError(f"the mixture gave micro-step {number}, expected {micro_step}")
            seed_everything(step_seed(self.settings.seed, micro_step, rank=self.accelerator.process_index))
            last = micro_step == (self.step + 1) * count - 1
            self.spread.exchange(self._module, wanted=last)
            losses = self._module(batch.to(self.device))
            total = self.weights.total(losses) / count
            self.spread.backward(self._module, self._scale.scaled(total))
            totals.append(total.detach())
            parts.append({name: value.detach() for name, value in losses.items()})
            image_ids.extend(batch.image_ids)
        total = self._mean_over_ranks(torch.stack(totals).sum())
        self._scale.unscale([parameter.grad for parameter in self._parameters if parameter.grad is not None])
        grad_norm, bad = self.spread.update(
            self._module,
            self.optimizer,
            parameters=self._parameters,
            loss=total,
            clip_norm=self.settings.clip_norm,
        )
        self._scale.update(bad)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self._losses.add(StepLosses(self.step, total, grad_norm, tuple(parts), tuple(image_ids)))

    def _without_frozen(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        left_out = set(self._left_out)
        return {name: value for name, value in tensors.items() if name not in left_out}

    def _state(self) -> dict[str, Any]:
        return {
            "settings": {"trainer": asdict(self.settings), "optimizer": asdict(self.optimizer_settings)},
            "schedule": {"steps": self.schedule.steps, "warmup_steps": self.schedule.warmup_steps},
            "mixture": self.mixture.state_dict(),
            "micro_step": self.step * self.settings.accumulation,
            "skipped": self._losses.skipped,
            "skipped_in_a_row": self._losses.in_a_row,
            "loss_scale": self._scale.state(),
            "rng": capture_rng(),
            "versions": library_versions(),
        }

    def _warn_of_changes(self, state: Mapping[str, Any]) -> None:
        now = self._state()
        for name, old in (*state["settings"]["trainer"].items(), *state["settings"]["optimizer"].items()):
            new = {**now["settings"]["trainer"], **now["settings"]["optimizer"]}.get(name)
            if list(new) != old if isinstance(new, tuple) else new != old:
                _LOGGER.warning("resuming with %s=%r, the checkpoint was made with %r", name, new, old)

    def _agreed(self, *wishes: bool) -> list[bool]:
        """Each wish as soon as one rank has it; ranks ask each other only when the losses are read anyway."""
        if self.accelerator.num_processes == 1:
            return list(wishes)
        if self.step % self.settings.log_every:
            return [False] * len(wishes)
        return [
            count > 0 for count in self.accelerator.reduce(torch.tensor(wishes, device=self.device).float()).tolist()
        ]

    def _mean_over_ranks(self, values: Tensor) -> Tensor:
        return values if self.accelerator.num_processes == 1 else self.accelerator.reduce(values, "mean")

    def _wants_determinism(self) -> bool:
        wanted = self.settings.deterministic
        return self.device.type == "cpu" if wanted is None else wanted

    def _call(self, point: str) -> None:
        for hook in self.hooks:
            getattr(hook, point)(self)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """Prefer deterministic kernels inside the block (some scatter kernels race otherwise); then restore the flags."""
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    filling = torch.utils.deterministic.fill_uninitialized_memory
    if wanted:
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filling
