"""Mixing tasks: which source gives the next micro-batch, and which of its records, as a pure function of the step.

Source: MVP-LM, section 4 (ratios of the training data). The order is error diffusion with shuffled ties, exact in every
cycle.
"""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mvplm.structures import Batch, Record, Sample

Collate = Callable[[Sequence[Sample]], Batch]


@dataclass(frozen=True)
class MixSource:
    """One source of micro-batches.

    Attributes:
        name: unique; seeds the order of the records.
        dataset: records.
        mapper: called as ``mapper(record, epoch=, index=)``, see ``SampleMapper``.
        ratio: micro-batches per cycle, relative to the other sources.
        batch_size: records per micro-batch and rank.
        questions: expressions asked about each record (sentence tasks); with more than one the mapper's ``several`` is
            called and a picture is encoded once for all of them.
    """

    name: str
    dataset: Sequence[Record]
    mapper: Any
    ratio: int = 1
    batch_size: int = 1
    questions: int = 1

    def __post_init__(self) -> None:
        if min(self.ratio, self.batch_size, self.questions) < 1:
            raise ValueError(
                f"source {self.name!r}: ratio {self.ratio}, batch size {self.batch_size} and questions "
                f"{self.questions} must be >= 1"
            )
        if len(self.dataset) == 0:
            raise ValueError(f"source {self.name!r} has no records")


@dataclass(frozen=True)
class Visit:
    """One record of a micro-batch: in which pass over the dataset, and where it stands in the dataset."""

    epoch: int
    index: int


@dataclass(frozen=True)
class BatchPlan:
    """What micro-batch ``step`` holds: the name of its source and the visits of this rank."""

    step: int
    source: str
    visits: tuple[Visit, ...]


class TaskMixture:
    """An endless, resumable order of micro-batches over several sources.

    Within every cycle of ``sum(ratios)`` micro-batches (ratios reduced to lowest terms) each source appears exactly
    ``ratio`` times; ties are broken by a shuffle of the cycle. Each source walks a fresh permutation of its records per
    epoch. All ranks take the same source at the same step, and different records.

    Args:
        sources: the sources, with unique names.
        seed: base of schedule and permutations.
        rank, world: this process and the number of processes.
    """

    def __init__(self, sources: Sequence[MixSource], *, seed: int = 0, rank: int = 0, world: int = 1) -> None:
        names = [source.name for source in sources]
        if not sources or len(set(names)) != len(names):
            raise ValueError(f"a mixture needs at least one source and unique names, got {names}")
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in [0, {world}), got {rank}")
        self.sources = {source.name: source for source in sources}
        self.seed = seed
        self.rank = rank
        self.world = world
        divisor = math.gcd(*(source.ratio for source in sources))
        self.shares = {source.name: source.ratio // divisor for source in sources}
        self.cycle_length = sum(self.shares.values())
        self.step = 0

    def source_of(self, step: int) -> str:
        """Name of the source of micro-batch ``step``."""
        cycle, place = divmod(step, self.cycle_length)
        return self._cycle(cycle)[place]

    def batch_plan(self, step: int) -> BatchPlan:
        """Source and visits of micro-batch ``step``; depends on nothing but (seed, step, rank, world)."""
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}")
        cycle, place = divmod(step, self.cycle_length)
        order = self._cycle(cycle)
        name = order[place]
        source = self.sources[name]
        earlier = cycle * self.shares[name] + order[:place].count(name)
        start = (earlier * self.world + self.rank) * source.batch_size
        visits = tuple(self._visit(source, start + offset) for offset in range(source.batch_size))
        return BatchPlan(step, name, visits)

    def samples(self, step: int) -> list[Sample]:
        """The mapped samples of micro-batch ``step``. Errors name the source and the record."""
        plan = self.batch_plan(step)
        source = self.sources[plan.source]
        return [sample for visit in plan.visits for sample in self._samples(source, visit)]

    def batches(
        self,
        start_step: int | None = None,
        *,
        collate: Collate,
        num_workers: int = 0,
        stop_step: int | None = None,
        prefetch: int = 2,
    ) -> Iterator[tuple[int, Batch]]:
        """Yield (step, batch) from ``start_step`` (default: the step of the loaded state) without end.

        Args:
            start_step: first micro-batch.
            collate: makes a batch of a list of samples; must be picklable where workers are spawned.
            num_workers: loader processes; the batches do not depend on it.
            stop_step: first micro-batch not to yield; None never stops.
            prefetch: batches each worker prepares ahead.
        """
        first = self.step if start_step is None else start_step
        steps = count(first) if stop_step is None else range(first, stop_step)
        loader = DataLoader(
            _Steps(self, collate),
            batch_size=None,
            sampler=steps,
            num_workers=num_workers,
            collate_fn=_unchanged,
            prefetch_factor=prefetch if num_workers else None,
            generator=torch.Generator(),  # its own, so that starting to load never advances the global generator
        )
        for step, batch in zip(steps if isinstance(steps, range) else count(first), loader, strict=False):
            self.step = step + 1
            yield step, batch

    def state_dict(self) -> dict[str, int]:
        """``{"step": k}``, the next micro-batch."""
        return {"step": self.step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at ``state["step"]``."""
        self.step = int(state["step"])

    def _samples(self, source: MixSource, visit: Visit) -> list[Sample]:
        record = source.dataset[visit.index]
        try:
            if source.questions > 1:
                return source.mapper.several(record, epoch=visit.epoch, index=visit.index, count=source.questions)
            return [source.mapper(record, epoch=visit.epoch, index=visit.index)]
        except (ValueError, OSError) as error:
            place = f"source {source.name!r}, record {visit.index}"
            raise ValueError(f"{place}: {error}") from error

    def _cycle(self, cycle: int) -> tuple[str, ...]:
        return _diffuse(tuple(self.shares.items()), f"{self.seed}-cycle-{cycle}")

    def _visit(self, source: MixSource, position: int) -> Visit:
        epoch, place = divmod(position, len(source.dataset))
        order = _permutation(len(source.dataset), f"{self.seed}-{source.name}-{epoch}")
        return Visit(epoch, int(order[place]))


class TrainingMixture:
    """A mixture together with how its samples become batches: what a training loop draws from.

    Args:
        mixture: gives the samples.
        collate: makes a batch of them; must be picklable where workers are spawned.
    """

    def __init__(self, mixture: TaskMixture, collate: Collate) -> None:
        self.mixture = mixture
        self.collate = collate

    def batches(self, start_step: int, *, num_workers: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield (micro-step, batch) from ``start_step`` on."""
        return self.mixture.batches(start_step, collate=self.collate, num_workers=num_workers)

    def state_dict(self) -> dict[str, int]:
        """JSON-ready position of the mixture."""
        return self.mixture.state_dict()


class _Steps(Dataset):
    """A map from step to batch, for the loader's workers."""

    def __init__(self, mixture: TaskMixture, collate: Collate) -> None:
        self._mixture = mixture
        self._collate = collate

    def __getitem__(self, step: int) -> Batch:
        return self._collate(self._mixture.samples(step))


def _unchanged(batch: Any) -> Any:
    return batch


@lru_cache(maxsize=64)
def _diffuse(shares: tuple[tuple[str, int], ...], seed: str) -> tuple[str, ...]:
    """One cycle: at each place the source with the largest debt, equal debts in shuffled order."""
    rng = random.Random(seed)
    total = sum(share for _, share in shares)
    debt = {name: 0 for name, _ in shares}
    order = []
    for _ in range(total):
        for name, share in shares:
            debt[name] += share
        largest = max(debt.values())
        chosen = rng.choice([name for name, _ in shares if debt[name] == largest])
        debt[chosen] -= total
        order.append(chosen)
    return tuple(order)


@lru_cache(maxsize=16)
def _permutation(length: int, seed: str) -> torch.Tensor:
    """A permutation (length,) int64 decided by ``seed`` on every machine."""
    digest = hashlib.sha256(seed.encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return torch.randperm(length, generator=generator)
