"""Problems found in a dataset, and the report that gathers them."""

from collections import Counter
from dataclasses import dataclass, field

from mvplm.structures.choices import check_choice

SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Problem:
    """One finding: ``severity`` ("error" | "warning" | "info"), ``where`` (file and place) and ``message``."""

    severity: str
    where: str
    message: str

    def __post_init__(self) -> None:
        check_choice("severity", self.severity, choices=SEVERITIES)

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


@dataclass
class CheckReport:
    """All findings of a check.

    Attributes:
        problems: in the order they were found.
        counts: what was looked at ("images", "annotations", ...) and how much of it is out of the ordinary.
    """

    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """True when there is no error; warnings and remarks are allowed."""
        return not self.of("error")

    def of(self, severity: str) -> list[Problem]:
        """The findings of one severity."""
        return [problem for problem in self.problems if problem.severity == severity]

    def error(self, where: str, message: str) -> None:
        """Add an error: training or evaluation would fail or be wrong."""
        self.problems.append(Problem("error", where, message))

    def warn(self, where: str, message: str) -> None:
        """Add a warning: unusual, but the library copes."""
        self.problems.append(Problem("warning", where, message))

    def note(self, where: str, message: str) -> None:
        """Add a remark."""
        self.problems.append(Problem("info", where, message))

    def summary(self) -> str:
        """One line: counts, then the numbers of errors and warnings."""
        seen = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        return f"{seen or 'nothing looked at'}: {len(self.of('error'))} errors, {len(self.of('warning'))} warnings"
