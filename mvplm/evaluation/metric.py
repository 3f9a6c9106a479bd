"""The protocol of every metric: per-sample state that can be gathered over ranks before it is reduced."""

from abc import ABC, abstractmethod
from typing import Any

import torch.distributed as dist


class Metric(ABC):
    """A metric keeps one plain entry per sample, so gathering is exact and a rank may hold any share of the samples.

    Entries carry a key of the sample; a sample that two ranks saw (padding of a distributed sampler) counts once.
    """

    def __init__(self) -> None:
        self._entries: dict[Any, Any] = {}

    def reset(self) -> None:
        """Forget every sample."""
        self._entries = {}

    def __len__(self) -> int:
        return len(self._entries)

    def _add(self, key: Any, entry: Any) -> None:
        # A sample without a key is like no other one, here and after it was sent to another process.
        self._entries[object() if key is None else key] = entry

    def merge(self, other: "Metric") -> None:
        """Take over the samples of another metric of the same kind and settings, as from a process with its share."""
        self._entries.update(other._entries)

    def _gathered(self) -> list[Any]:
        """Entries of all ranks, each sample once."""
        return list(self._gathered_by_key().values())

    def _gathered_by_key(self) -> dict[Any, Any]:
        """Entries of all ranks by the keys of their samples."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self._entries
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, self._entries)
        merged: dict[Any, Any] = {}
        for part in parts:
            merged.update(part)
        return merged

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The metric in percent (0-100) over all samples seen by all ranks."""


def percent(numerator: float, denominator: float) -> float:
    """100 · numerator / denominator, and 0 where there is nothing to divide by."""
    return 100.0 * numerator / denominator if denominator else 0.0
