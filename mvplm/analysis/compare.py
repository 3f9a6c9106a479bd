"""Two results beside each other: paired differences with intervals, and the pictures that changed most."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvplm.analysis.judged import matches_of, picture_scores
from mvplm.analysis.results import Results, ScoredSet, open_results
from mvplm.evaluation import Interval, check_comparable


@dataclass(frozen=True)
class Difference:
    """A metric of both: percent of each, and the interval of second - first in points (None: it has none)."""

    metric: str
    first: float
    second: float
    interval: Interval | None = None

    @property
    def value(self) -> float:
        """second - first in points."""
        return self.second - self.first

    @property
    def certain(self) -> bool:
        """The interval excludes 0."""
        return self.interval is not None and (self.interval.low > 0 or self.interval.high < 0)


@dataclass(frozen=True)
class Change:
    """A picture of a set and what it scored in both, in percent."""

    set: str
    image: Any
    metric: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """names: of the two results. differences: by metric. changes: the pictures that changed most, by set."""

    names: Sequence[str]
    differences: Sequence[Difference]
    changes: Sequence[Change]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, numbers rounded to 4 places."""
        rows = [
            {
                "metric": found.metric,
                "first": round(found.first, 4),
                "second": round(found.second, 4),
                "difference": round(found.value, 4),
                "interval": found.interval and [round(found.interval.low, 4), round(found.interval.high, 4)],
                "excludes_0": found.certain,
            }
            for found in self.differences
        ]
        return {"names": list(self.names), "differences": rows, "changes": [asdict(change) for change in self.changes]}


def compare_results(folders: Sequence[str | Path], *, images: int = 8) -> list[Comparison]:
    """The first directory of results against each of the others.

    Args:
        folders: two or more. images: pictures told for each set.

    Raises:
        ValueError: fewer than two; other protocols, data or pictures; see ``open_results``, too.
        FileNotFoundError: see ``open_results``.
    """
    if len(folders) < 2:
        raise ValueError(f"a comparison needs two directories of results or more, got {len(folders)}")
    opened = [open_results(folder) for folder in folders]
    for other in opened[1:]:
        _check(opened[0], other)
    return [_compare(opened[0], other, images=images) for other in opened[1:]]


def _check(first: Results, second: Results) -> None:
    names = [str(side.folder) for side in (first, second)]
    if names[0] == names[1]:
        raise ValueError(f"{names[0]} is given twice; a comparison needs two results")
    check_comparable({str(side.folder): side.content for side in (first, second)})
    others = {other.name for other in second.sets}
    shared = list(dict.fromkeys(scored.set for scored in first.sets if scored.name in others))
    if not shared:
        raise ValueError(f"{names[0]} and {names[1]} have no set in common")
    sides = [_measured(side, shared) for side in (first, second)]
    if different := [part for part in sides[0] if sides[0][part] != sides[1][part]]:
        told = "; ".join(f"{part}: {sides[0][part]} / {sides[1][part]}" for part in different)
        raise ValueError(
            f"{names[0]} and {names[1]} were measured on different data and cannot be compared: {told}. Evaluate both "
            "on the same data with the same options and --limit"
        )


def _measured(results: Results, shared: Sequence[str]) -> dict[str, Any]:
    """``set: part`` -> what it was measured on."""
    data, words = results.content["data"], results.content["protocol"].get("vocabulary_hash", {})
    out: dict[str, Any] = {}
    for name in shared:
        entry = data["sets"][name]
        out |= {f"{name}: {part}": entry.get(part) for part in ("dataset", "options", "limit", "prefix")}
        out |= {f"{name}: annotation files": data.get("files", {}).get(name), f"{name}: names": words.get(name)}
    return out


def _compare(first: Results, second: Results, *, images: int) -> Comparison:
    others = {scored.name: scored for scored in second.sets}
    differences: list[Difference] = []
    changes: list[Change] = []
    for scored in first.sets:
        if scored.name in others:
            known = set(first.content["metrics"]) & set(second.content["metrics"])
            differences += _differences(scored, others[scored.name], known=known)
            changes += _changes(scored, others[scored.name], count=images)
    return Comparison([str(first.folder), str(second.folder)], differences, changes)


def _differences(first: ScoredSet, second: ScoredSet, *, known: Collection[str]) -> list[Difference]:
    """Those of the metrics that are known, under their names in the metrics file."""
    sides = [scored.scorer.compute() for scored in (first, second)]
    intervals: Mapping[str, Interval] = first.scorer.differences(second.scorer)
    names = {short: name for name, short in first.full_names().items() if short in known and name in sides[1]}
    return [Difference(short, sides[0][n], sides[1][n], intervals.get(n)) for short, n in sorted(names.items())]


def _changes(first: ScoredSet, second: ScoredSet, *, count: int) -> list[Change]:
    sides = [picture_scores(scored, matches_of(scored)) for scored in (first, second)]
    if sides[0].metric != sides[1].metric:
        return []
    both = [image for image in sides[0].values if image in sides[1].values]
    changes = [Change(first.name, i, sides[0].metric, sides[0].values[i], sides[1].values[i]) for i in both]
    changed = [change for change in changes if change.first != change.second]
    return sorted(changed, key=lambda change: (-abs(change.second - change.first), str(change.image)))[:count]
