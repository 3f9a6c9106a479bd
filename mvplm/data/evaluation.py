"""Loading for evaluation: every record once, in order, without duplicates to fill the last batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import expression_indices
from mvplm.prompts import family_of
from mvplm.structures import Batch, Record, Sample


@dataclass
class EvaluationBatch:
    """A batch with what its rows are.

    Attributes:
        batch: B rows.
        records: B records (the same one for several expressions of an image).
        expressions: B positions in ``record.expressions``, None for tasks without a sentence.
        indices: B positions in the dataset.
    """

    batch: Batch
    records: list[Record]
    expressions: list[int | None]
    indices: list[int]


@dataclass
class _Rows:
    """Samples of one or more records, in step."""

    samples: list[Sample] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    expressions: list[int | None] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)

    def extend(self, other: "_Rows") -> None:
        """Append the rows of ``other``."""
        self.samples.extend(other.samples)
        self.records.extend(other.records)
        self.expressions.extend(other.expressions)
        self.indices.extend(other.indices)

    def take(self, count: int) -> "_Rows":
        """Remove and return the first ``count`` rows."""
        first = _Rows(self.samples[:count], self.records[:count], self.expressions[:count], self.indices[:count])
        del self.samples[:count], self.records[:count], self.expressions[:count], self.indices[:count]
        return first


def evaluation_batches(
    dataset: Sequence[Record],
    mapper: SampleMapper,
    *,
    batch_size: int,
    collate: Callable[[Sequence[Sample]], Batch],
    num_workers: int = 0,
    limit: int = 0,
    rank: int = 0,
    world: int = 1,
) -> Iterator[EvaluationBatch]:
    """Yield the records of a dataset as batches: one row per record, or per expression for sentence tasks.

    A sentence task takes the expressions that fit it (see ``expression_indices``); rows of one image stand together.

    Args:
        dataset: records.
        mapper: makes the samples (in evaluation mode); its task decides which rows there are.
        batch_size: rows per batch; the last one may be smaller.
        collate: makes a batch of a list of samples.
        num_workers: loader processes.
        limit: only the first so many records; 0 takes all.
        rank, world: this process takes every ``world``-th record, starting at ``rank``.
    """
    total = min(limit, len(dataset)) if limit else len(dataset)
    loader = DataLoader(
        _Mapped(dataset, mapper),
        batch_size=None,
        sampler=range(rank, total, world),
        num_workers=num_workers,
        collate_fn=_unchanged,
        generator=torch.Generator(),
    )
    waiting = _Rows()
    for rows in loader:
        waiting.extend(rows)
        while len(waiting.samples) >= batch_size:
            yield _batch(waiting.take(batch_size), collate)
    if waiting.samples:
        yield _batch(waiting, collate)


def _batch(rows: _Rows, collate: Callable[[Sequence[Sample]], Batch]) -> EvaluationBatch:
    return EvaluationBatch(collate(rows.samples), rows.records, rows.expressions, rows.indices)


class _Mapped(Dataset):
    """Record index to the rows of that record."""

    def __init__(self, dataset: Sequence[Record], mapper: SampleMapper) -> None:
        self._dataset = dataset
        self._mapper = mapper

    def __getitem__(self, index: int) -> _Rows:
        record = self._dataset[index]
        sentence = family_of(self._mapper.task) == "sentence"
        places: list[int | None] = [*expression_indices(record, self._mapper.task)] if sentence else [None]
        samples = [self._mapper(record, epoch=0, index=index, expression=place) for place in places]
        samples = [replace(sample, image=samples[0].image) for sample in samples]  # one picture, encoded once
        return _Rows(samples, [record] * len(samples), places, [index] * len(samples))


def _unchanged(rows: Any) -> Any:
    return rows
