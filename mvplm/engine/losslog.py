"""Losses on their way to the log: kept on the device, read in one copy, checked for NaN and infinity."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


class NonFiniteLossError(ArithmeticError):
    """The loss or the gradient was NaN or infinite too many steps in a row. The message holds losses and image ids."""


@dataclass(frozen=True)
class StepLosses:
    """Losses of one optimiser step, still on the device.

    Attributes:
        step: number of the step, from 1.
        total: scalar, weighted sum that was minimised.
        grad_norm: scalar, norm of the gradient before clipping.
        losses: unweighted named scalars, one dict per micro-batch.
        image_ids: of the step's micro-batches.
    """

    step: int
    total: Tensor
    grad_norm: Tensor
    losses: tuple[dict[str, Tensor], ...]
    image_ids: tuple[int | str, ...]


@dataclass(frozen=True)
class LossRecord:
    """What happened between two reads of the losses.

    Attributes:
        first_step, step: inclusive range of steps.
        totals: total loss of every step (NaN where it was skipped).
        losses: mean of every unweighted loss over the finite micro-batches it occurred in.
        grad_norm: mean over the finite steps.
        skipped: steps skipped since the start of the run because of a non-finite loss.
    """

    first_step: int
    step: int
    totals: tuple[float, ...]
    losses: dict[str, float]
    grad_norm: float
    skipped: int

    @property
    def mean_total(self) -> float:
        """Mean total loss over the finite steps of the record."""
        return _mean(self.totals)


@dataclass
class LossLog:
    """Collects steps and reads them from the device together.

    Attributes:
        limit: so many non-finite steps in a row raise; 0 acts as 1.
        processes: how many train together; each of their losses is divided by counts over all of them.
        skipped: non-finite steps seen so far; in_a_row: the present streak.
    """

    limit: int
    processes: int = 1
    skipped: int = 0
    in_a_row: int = 0
    _pending: list[StepLosses] = field(default_factory=list)
    _checked: int = 0

    def add(self, step: StepLosses) -> None:
        """Keep a step. On the CPU, where reading costs nothing, it is checked at once, elsewhere at the next read."""
        self._pending.append(step)
        if step.total.device.type == "cpu":
            self._check([(float(step.total), float(step.grad_norm))])

    def read(self) -> LossRecord | None:
        """Copy the pending steps to the host in one transfer; None when there are none.

        Raises:
            NonFiniteLossError: the limit of consecutive non-finite steps was reached.
        """
        if not self._pending:
            return None
        scalars = [value for step in self._pending for value in _scalars(step)]
        numbers = torch.stack([value.float() for value in scalars]).tolist()
        rows: list[tuple[float, float]] = []
        parts: list[dict[str, float]] = []
        for step in self._pending:
            rows.append((numbers.pop(0), numbers.pop(0)))
            parts += [{name: numbers.pop(0) for name in losses} for losses in step.losses]
        named: dict[str, list[float]] = {}
        for losses in self._averaged(parts):
            for name, value in losses.items():
                named.setdefault(name, []).append(value)
        self._check(rows[self._checked :])
        record = LossRecord(
            first_step=self._pending[0].step,
            step=self._pending[-1].step,
            totals=tuple(total for total, _ in rows),
            losses={name: _mean(values) for name, values in named.items()},
            grad_norm=_mean([norm for _, norm in rows]),
            skipped=self.skipped,
        )
        self._pending, self._checked = [], 0
        return record

    def _averaged(self, parts: list[dict[str, float]]) -> list[dict[str, float]]:
        """Losses of every micro-batch averaged over the processes; one that a process does not have is 0 there."""
        if self.processes == 1:
            return parts
        everywhere: list[list[dict[str, float]]] = [[] for _ in range(self.processes)]
        torch.distributed.all_gather_object(everywhere, parts)
        averaged = []
        for together in zip(*everywhere, strict=True):
            names = dict.fromkeys(name for losses in together for name in losses)
            averaged.append({name: sum(losses.get(name, 0.0) for losses in together) / len(together) for name in names})
        return averaged

    def _check(self, rows: Sequence[tuple[float, float]]) -> None:
        for total, grad_norm in rows:
            step = self._pending[self._checked]
            self._checked += 1
            if math.isfinite(total) and math.isfinite(grad_norm):
                self.in_a_row = 0
                continue
            self.skipped += 1
            self.in_a_row += 1
            if self.in_a_row >= max(1, self.limit):
                losses = {
                    f"{name}" if len(step.losses) == 1 else f"{name} (micro-batch {i})": float(value)
                    for i, part in enumerate(step.losses)
                    for name, value in part.items()
                }
                raise NonFiniteLossError(
                    f"non-finite loss in {self.in_a_row} step(s) in a row, the last at step {step.step}: "
                    f"total {total}, gradient norm {grad_norm}, losses {losses}, image ids {list(step.image_ids)}"
                )


def _scalars(step: StepLosses) -> list[Tensor]:
    return [step.total, step.grad_norm, *(value for losses in step.losses for value in losses.values())]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan
