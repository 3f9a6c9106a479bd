"""Results of an evaluation, opened again: what was predicted, the truth, and how it was counted."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mvplm.data.prediction_files import PredictionFile
from mvplm.evaluation import Protocol
from mvplm.evaluation.naming import short_names
from mvplm.measuring.reopening import SavedSet, reopen
from mvplm.measuring.scored_data import ScoredData
from mvplm.measuring.scorers import Scorer
from mvplm.measuring.scoring import file_hashes, make_scorer, predictions_hash, score_records
from mvplm.structures import Record


@dataclass(frozen=True)
class ScoredSet:
    """Predictions for one set of records, and one metric that they were scored by.

    Attributes:
        name: of the set; with the metric, where its predictions give several.
        set: name of the set in the metrics file.
        metric: panoptic, semantic, detection or referring.
        file: the predictions. data, records: the truth. protocol: how expressions are counted.
        advance: called once for each record that is scored.
    """

    name: str
    set: str
    metric: str
    file: PredictionFile
    data: ScoredData
    records: Sequence[Record]
    protocol: Protocol
    advance: Callable[[], None] = lambda: None

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer after it has seen all records. Raises what ``score_records`` raises."""
        return self.scored_by(self.metric)

    def scored_by(self, metric: str) -> Scorer:
        """The scorer of another metric that the file gives. Raises what ``score_records`` raises."""
        fresh = make_scorer(metric, self.file, records=self.records, data=self.data, protocol=self.protocol)
        return score_records(fresh, self.records, limit=self.data.limit, advance=self.advance)

    def full_names(self) -> dict[str, str]:
        """Name of every result of the scorer -> the one in the metrics file."""
        return short_names(self.scorer.compute(), self.data.prefix)

    def __len__(self) -> int:
        return min(self.data.limit, len(self.records)) if self.data.limit else len(self.records)

    @cached_property
    def places(self) -> dict[Any, int]:
        """Id of an image -> its place among the records."""
        image_id = getattr(self.records, "image_id", lambda place: self.records[place].image_id)
        return {image_id(place): place for place in range(len(self))}


@dataclass(frozen=True)
class Results:
    """A directory of results.

    Attributes:
        folder: the directory. content: of its metrics file. sets: what was scored.
    """

    folder: Path
    content: Mapping[str, Any]
    sets: Sequence[ScoredSet]


def open_results(folder: str | Path) -> Results:
    """Open the results in a directory: its metrics, its predictions and their data; of a model or of files.

    Raises:
        FileNotFoundError: the metrics file, a file of predictions or the data is not there.
        ValueError: the metrics file names no predictions, or predictions or data have changed since they were scored.
        Each message names the path and says what to do.
    """
    folder = Path(folder)
    saved = reopen(folder)
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return Results(folder, content, [found for entry in saved for found in _scored(entry, content, folder=folder)])


def _scored(saved: SavedSet, content: Mapping[str, Any], *, folder: Path) -> list[ScoredSet]:
    hashes = content["protocol"].get("predictions")
    before = content["data"].get("files", {}).get(saved.name, {})
    sets = []
    for metric in saved.metrics:
        file = saved.read(metric)
        # Predictions of a model have no hash: they were written beside the metrics file.
        if hashes is not None and predictions_hash(file) not in hashes.values():
            raise ValueError(f"{file.path} {_AGAIN.format(folder)}")
        records = saved.data.open(metric, saved.protocol)
        if (now := file_hashes(records)) != before:
            raise ValueError(f"{_changed(now, before)} of {saved.data.name} {_AGAIN.format(folder)}")
        name = saved.name if len(saved.metrics) == 1 else f"{saved.name}_{metric}"
        sets.append(ScoredSet(name, saved.name, metric, file, saved.data, records, saved.protocol))
    return sets


_AGAIN = "has changed since the results in {} were scored; restore it, or evaluate again"


def _changed(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Names of the files that differ."""
    names = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
    return ", ".join(sorted(names))
