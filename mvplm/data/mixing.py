"""Mixing tasks: which source gives the next micro-batch, and which of its records, as a pure function of the step.

Source: MVP-LM, section 4 (ratios of the training data). The order is error diffusion with shuffled ties, exact in every
cycle.
"""

import hashlib
import math
import random
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import count
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mvplm.data.bad_samples import BadSample, BadSampleCounter, fill_in
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

    A record that cannot be read is replaced by another of its source, chosen by the seed; it is named in the log and
    counted. A state can be continued with another number of processes, batch sizes or steps per update: every source
    goes on with the record after the last one that was drawn.

    Args:
        sources: the sources, with unique names.
        seed: base of schedule and permutations.
        rank, world: this process and the number of processes.
        max_bad_share: largest share of records that may be unreadable, see ``BadSampleCounter``.
    """

    def __init__(
        self,
        sources: Sequence[MixSource],
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        max_bad_share: float = 0.0,
    ) -> None:
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
        self.bad = BadSampleCounter(max_bad_share)
        self._start = 0
        self._drawn: dict[str, int] = dict.fromkeys(names, 0)

    def source_of(self, step: int) -> str:
        """Name of the source of micro-batch ``step``."""
        cycle, place = divmod(step, self.cycle_length)
        return self._cycle(cycle)[place]

    def batch_plan(self, step: int) -> BatchPlan:
        """Source and visits of micro-batch ``step``: decided by seed, rank, world and the state that was loaded.

        Raises:
            ValueError: a step before the loaded state.
        """
        if step < self._start:
            raise ValueError(f"step must be at least {self._start}, got {step}")
        name = self.source_of(step)
        source = self.sources[name]
        start = self._position(name, step) + self.rank * source.batch_size
        visits = tuple(self._visit(source, start + offset) for offset in range(source.batch_size))
        return BatchPlan(step, name, visits)

    def samples(self, step: int) -> list[Sample]:
        """The mapped samples of micro-batch ``step``, without a look at how many were bad.

        Raises:
            ValueError: a source has no usable record left; the message names source and record.
        """
        return self.loaded(step).samples

    def loaded(self, step: int) -> "LoadedSamples":
        """The mapped samples of micro-batch ``step`` and the records that others had to stand in for."""
        plan = self.batch_plan(step)
        source = self.sources[plan.source]
        samples: list[Sample] = []
        bad: list[BadSample] = []
        for visit in plan.visits:
            found = fill_in(
                source.name,
                partial(self._samples, source),
                visits=self._stand_ins(source, visit),
            )
            samples += found.samples
            bad += found.bad
        return LoadedSamples(samples, tuple(bad), seen=len(plan.visits) + len(bad))

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
            worker_init_fn=_leave_signals,
            generator=torch.Generator(),  # its own, so that starting to load never advances the global generator
        )
        for step, loaded in zip(steps if isinstance(steps, range) else count(first), loader, strict=False):
            self.bad.add(loaded.bad, seen=loaded.seen)
            self.step = step + 1
            yield step, loaded.batch

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready: ``step``, the next micro-batch; ``drawn``, records every source has given to all processes."""
        return {"step": self.step, "drawn": {name: self._position(name, self.step) for name in self.sources}}

    def load_state_dict(self, state: Mapping[str, Any], *, step: int | None = None) -> None:
        """Continue where another mixture was: every source goes on with the record after its last one.

        Args:
            state: of ``state_dict``; a source it does not know starts from its beginning.
            step: number the next micro-batch gets here, when it differs from ``state["step"]``.
        """
        self.step = int(state["step"] if step is None else step)
        if "drawn" in state:
            self._start = self.step
            self._drawn = {name: int(state["drawn"].get(name, 0)) for name in self.sources}

    def _position(self, name: str, step: int) -> int:
        """Records of a source that all processes have drawn before micro-batch ``step``."""
        batches = self._count(name, step) - self._count(name, self._start)
        return self._drawn[name] + batches * self.world * self.sources[name].batch_size

    def _count(self, name: str, step: int) -> int:
        """Micro-batches of a source before ``step``."""
        cycle, place = divmod(step, self.cycle_length)
        return cycle * self.shares[name] + self._cycle(cycle)[:place].count(name)

    def _samples(self, source: MixSource, visit: Visit) -> list[Sample]:
        record = source.dataset[visit.index]
        if source.questions > 1:
            return source.mapper.several(record, epoch=visit.epoch, index=visit.index, count=source.questions)
        return [source.mapper(record, epoch=visit.epoch, index=visit.index)]

    def _stand_ins(self, source: MixSource, visit: Visit) -> Iterator[Visit]:
        """The visit itself, then others of the same pass, decided by the seed."""
        yield visit
        rng = random.Random(f"{self.seed}-{source.name}-{visit.epoch}-{visit.index}-instead")
        while True:
            yield Visit(visit.epoch, rng.randrange(len(source.dataset)))

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

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready position of the mixture."""
        return self.mixture.state_dict()

    def load_state_dict(self, state: Mapping[str, Any], *, step: int | None = None) -> None:
        """Continue after the records of ``state``; the next micro-batch gets the number ``step``."""
        self.mixture.load_state_dict(state, step=step)


@dataclass(frozen=True)
class LoadedSamples:
    """Samples of a micro-batch, the records that could not be used, and how many records were tried."""

    samples: list[Sample]
    bad: tuple[BadSample, ...]
    seen: int


@dataclass(frozen=True)
class _LoadedBatch:
    """A batch with what ``LoadedSamples`` says about its records."""

    batch: Batch
    bad: tuple[BadSample, ...]
    seen: int


class _Steps(Dataset):
    """A map from step to batch, for the loader's workers."""

    def __init__(self, mixture: TaskMixture, collate: Collate) -> None:
        self._mixture = mixture
        self._collate = collate

    def __getitem__(self, step: int) -> _LoadedBatch:
        loaded = self._mixture.loaded(step)
        return _LoadedBatch(self._collate(loaded.samples), loaded.bad, loaded.seen)


def _leave_signals(_: int) -> None:
    """Stop signals often go to a whole group of processes: the main one answers them, and still needs its workers."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


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
