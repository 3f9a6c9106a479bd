"""Opening the results of an evaluation again: its data, and the predictions that were scored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvplm.data.prediction_files import LIST_FILES, DetectionFile, PredictionFile, read_predictions
from mvplm.evaluation import Protocol, protocols
from mvplm.measuring.scored_data import ScoredData


@dataclass(frozen=True)
class SavedSet:
    """One set of an evaluation, to be scored again with ``mvplm.measuring.scoring.score_file``.

    Attributes:
        name: of the set.
        data: the truth.
        files: metric -> its file of predictions.
        protocol: how expressions were counted.
    """

    name: str
    data: ScoredData
    files: Mapping[str, Path]
    protocol: Protocol

    @property
    def metrics(self) -> tuple[str, ...]:
        """What the files give: of panoptic, semantic, detection and referring."""
        return tuple(self.files)

    def read(self, metric: str) -> PredictionFile:
        """The predictions for one of ``metrics``; see ``read_predictions``."""
        return read_predictions(self.files[metric], empty=LIST_FILES.get(metric, DetectionFile))


def reopen(results: str | Path) -> list[SavedSet]:
    """The sets of an evaluation whose predictions were written, of a model or of files.

    Args:
        results: folder with ``metrics.json``.

    Raises:
        FileNotFoundError: there is none, or a file of predictions that it names is gone.
        ValueError: it is no metrics file, or names no predictions.
    """
    path = Path(results) / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; 'mvplm evaluate --out {results}' writes it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        how, sets = content["protocol"], content["data"]["sets"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no metrics file of an evaluation: {error}") from None
    found = [_saved(name, entry, how=how, path=path) for name, entry in sets.items() if entry.get("predictions")]
    if not found:
        raise ValueError(f"{path} names no predictions; evaluate again without --no-save-predictions")
    return found


def _saved(name: str, entry: Mapping[str, Any], *, how: Mapping[str, Any], path: Path) -> SavedSet:
    files = {metric: path.parent / place for metric, place in entry["predictions"].items()}
    for file in files.values():
        if not file.is_file():
            raise FileNotFoundError(f"{path}: set {name!r} names predictions that are gone: {file}")
    data = ScoredData(
        entry["dataset"],
        entry.get("options", {}),
        entry.get("limit", 0),
        entry.get("task", ""),
        entry.get("prefix"),
        how.get("synonyms", "joined"),
    )
    counted = how.get("referring")
    known = Protocol.from_dict(counted) if counted else protocols.get(how.get("res_protocol", "per_sentence"))
    return SavedSet(name, data, files, known)
