"""Results of an evaluation, opened again: what was predicted, the truth, and how it was counted."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mvplm.data.prediction_files import PredictionFile, read_predictions
from mvplm.scorers import Scorer
from mvplm.scoring import ScoredData, by_metric, file_hashes, make_scorer, predictions_hash, score_records
from mvplm.structures import Record


@dataclass(frozen=True)
class ScoredSet:
    """Predictions for one set of records, and the metric that they were scored by.

    Attributes:
        name: of the set. metric: panoptic, semantic, detection or referring.
        file: the predictions. records: the truth. limit: only so many of them; 0: all.
        advance: called once for each record that is scored.
    """

    name: str
    metric: str
    file: PredictionFile
    records: Sequence[Record]
    limit: int = 0
    advance: Callable[[], None] = lambda: None

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer after it has seen all records. Raises what ``score_records`` raises."""
        fresh = make_scorer(self.metric, self.file, records=self.records)
        return score_records(fresh, self.records, limit=self.limit, advance=self.advance)

    def __len__(self) -> int:
        return min(self.limit, len(self.records)) if self.limit else len(self.records)

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
    """Open the results in a directory: its metrics, its predictions and their data.

    Raises:
        FileNotFoundError: the metrics file, a file of predictions or the data is not there.
        ValueError: the directory holds no predictions, or predictions or data have changed since they were scored.
        Each message names the path and says what to do.
    """
    folder = Path(folder)
    content = _read_metrics(folder)
    protocol, data = content["protocol"], content["data"]
    if not protocol.get("predictions"):
        raise ValueError(
            f"{folder / 'metrics.json'} names no predictions to look into; save them as files and score these: "
            f"mvplm evaluate --predictions FILE --data NAME --out {folder}"
        )
    files = [_open_file(name, expected, folder=folder) for name, expected in protocol["predictions"].items()]
    sets = []
    for metric, file in by_metric(files, protocol["metrics"]).items():
        entry = data["sets"][metric]
        truth = ScoredData(entry["dataset"], entry["options"], entry["limit"])
        records = truth.open(metric)
        if (found := file_hashes(records)) != data["files"].get(metric, {}):
            raise ValueError(f"{_changed(found, data['files'][metric])} of {entry['dataset']} {_AGAIN.format(folder)}")
        sets.append(ScoredSet(metric, metric, file, records, truth.limit))
    return Results(folder, content, sets)


_AGAIN = "has changed since the results in {} were scored; restore it, or evaluate again"


def _read_metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} not found: {folder} must be the --out folder of mvplm evaluate"
            + ("" if folder.is_dir() else ", and there is no such folder")
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}; evaluate again") from error
    parts = ("metrics", "protocol", "data")
    lacking = [part for part in parts if not isinstance(content, dict) or part not in content]
    if lacking:
        raise ValueError(f"{path} has no {lacking[0]!r}; is it the metrics file of mvplm evaluate?")
    return content


def _open_file(name: str, expected: str, *, folder: Path) -> PredictionFile:
    """A file of predictions as it was named then, or of that name in the folder of the results."""
    choices = [Path(name), folder / Path(name).name]
    path = next((choice for choice in choices if choice.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"the predictions that {folder / 'metrics.json'} names are not there: {name}; run the command in the "
            f"folder in which they were scored, put them into {folder}, or evaluate again"
        )
    file = read_predictions(path)
    if predictions_hash(file) != expected:
        raise ValueError(f"{path} {_AGAIN.format(folder)}")
    return file


def _changed(found: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """Names of the files that differ."""
    names = {name for name in {*found, *expected} if found.get(name) != expected.get(name)}
    return ", ".join(sorted(names))
