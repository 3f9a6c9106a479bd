"""Records that cannot be used in training: another one stands in, they are named, counted, and limited in number."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mvplm.structures import Sample

_LOGGER = logging.getLogger("mvplm.data")
_TRIES = 20
_LEAST_SEEN = 1000
# What unreadable pictures and broken annotations raise; anything else is a defect of the program.
_BROKEN = (ValueError, OSError, KeyError, IndexError)


@dataclass(frozen=True)
class BadSample:
    """A record that could not be used: its source, its place in the dataset and why."""

    source: str
    index: int
    reason: str

    def __str__(self) -> str:
        return f"source {self.source!r}, record {self.index}: {self.reason}"


@dataclass(frozen=True)
class Filled:
    """Samples of the first record that could be used, and those that could not."""

    samples: list[Sample]
    bad: tuple[BadSample, ...]


def fill_in(source: str, load: Callable[[Any], list[Sample]], *, visits: Iterable[Any]) -> Filled:
    """Load the first visit that can be loaded.

    Args:
        source: name, for messages.
        load: samples of a visit.
        visits: what to try, in this order; each has an ``index``.

    Raises:
        ValueError: twenty in a row could not be used; the message names the first.
    """
    bad: list[BadSample] = []
    first: Exception | None = None
    for visit in islice(visits, _TRIES):
        try:
            return Filled(load(visit), tuple(bad))
        except _BROKEN as error:
            first = first or error
            bad.append(BadSample(source, visit.index, _reason(error)))
    raise ValueError(f"{bad[0]} (and {len(bad) - 1} records tried in its place cannot be used either)") from first


@dataclass
class BadSampleCounter:
    """Counts bad records of a run and ends it when there are too many.

    Attributes:
        max_share: largest share of the records seen; at least a thousand are taken for seen, so that a run does not
            end over the first bad record. 0: the first one ends it.
        seen, bad: records tried, and how many of them could not be used.
        by_source: bad ones of each source.
    """

    max_share: float
    seen: int = 0
    bad: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    _named: set[tuple[str, int]] = field(default_factory=set)

    def add(self, bad: Sequence[BadSample], *, seen: int) -> None:
        """Count the records of a micro-batch and name the bad ones in the log, each once.

        Raises:
            ValueError: too many are bad; the message has the numbers and the last one.
        """
        self.seen += seen
        for sample in bad:
            self.bad += 1
            self.by_source[sample.source] += 1
            if (sample.source, sample.index) not in self._named:
                self._named.add((sample.source, sample.index))
                _LOGGER.warning("skipped %s (%d bad of %d samples so far)", sample, self.bad, self.seen)
        if bad and self.bad > self.max_share * max(self.seen, _LEAST_SEEN):
            if not self.max_share:
                raise ValueError(str(bad[-1]))
            counts = ", ".join(f"{name} {count}" for name, count in self.by_source.most_common())
            raise ValueError(
                f"{self.bad} of {self.seen} samples cannot be used ({counts}), more than the share of "
                f"{self.max_share:g} that data.max_bad_share allows; the last one: {bad[-1]}"
            )


def _reason(error: Exception) -> str:
    return f"no entry {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
