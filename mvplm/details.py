"""What an evaluation can tell beside its metrics: intervals, and tables of classes and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mvplm.evaluation import Evaluator, Interval, Table
from mvplm.scorers import Scorer

_T = TypeVar("_T")


@dataclass
class Details:
    """Gathers them over the sets of an evaluation.

    Attributes:
        intervals: by metric, named as in the metrics file; None does not ask for any.
        tables: by name; those of a set with a prefix begin with it.
    """

    intervals: dict[str, Interval] | None = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def add(self, evaluator: Evaluator | Scorer, prefix: str | None = None) -> None:
        """Take what an evaluator or scorer of a set has to tell; ``prefix`` is that of the set."""
        start = "" if prefix is None else f"{prefix}/"
        self.tables |= {f"{start}{name}": table for name, table in evaluator.tables().items()}
        if self.intervals is not None:
            self.intervals |= prefixed(evaluator.intervals(), prefix)


def prefixed(found: Mapping[str, _T], prefix: str | None) -> dict[str, _T]:
    """The same under names that begin with the prefix, where there is one, in place of their own first part."""
    if prefix is None:
        return dict(found)
    return {f"{prefix}/{name.partition('/')[2]}": value for name, value in found.items()}
