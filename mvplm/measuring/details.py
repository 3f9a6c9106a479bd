"""What an evaluation can tell beside its metrics: intervals, and tables of classes and sizes."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mvplm.evaluation import Evaluator, Interval, Table
from mvplm.evaluation.naming import short_names
from mvplm.measuring.scorers import Scorer


@dataclass
class Details:
    """Gathers them over the sets of an evaluation.

    Attributes:
        intervals: by metric, named as in the metrics file; None does not ask for any.
        tables: by name; those of a set with a prefix begin with it.
    """

    intervals: dict[str, Interval] | None = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)

    def add(self, evaluator: Evaluator | Scorer, results: Iterable[str], *, prefix: str | None = None) -> None:
        """Take what an evaluator or scorer of a set has to tell.

        Args:
            evaluator: of the set. results: the names of all that it computes. prefix: of the set.
        """
        start = "" if prefix is None else f"{prefix}/"
        self.tables |= {f"{start}{name}": table for name, table in evaluator.tables().items()}
        if self.intervals is not None:
            names = short_names(results, prefix)
            self.intervals |= {names[name]: found for name, found in evaluator.intervals().items()}
