"""Scoring predictions of any system from files, with no model loaded: the same metrics, the same ``metrics.json``."""

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from mvplm.data.catalog import dataset_entry, get_dataset, list_datasets
from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import DetectionFile, PredictionFile, ReferringFile, read_predictions
from mvplm.data.preparation import sha256
from mvplm.details import Details
from mvplm.evaluation import print_metrics, write_metrics, write_tables
from mvplm.scorers import DetectionScorer, PanopticScorer, ReferringScorer, Scorer, SemanticScorer
from mvplm.structures import Record, Vocabulary
from mvplm.structures.choices import check_choice

_KINDS = {"panoptic": PanopticFile, "semantic": PanopticFile, "detection": DetectionFile, "referring": ReferringFile}
# What a data set is asked for, where it can tell more than one thing and no option says which.
_ROLES = {"panoptic": "panoptic", "semantic": "panoptic", "detection": "instance", "referring": "referring"}
METRICS = tuple(_KINDS)


@dataclass(frozen=True)
class ScoredData:
    """The truth: a name of the catalog or a COCO folder, its options, and how many records (0: all)."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 0

    def as_dict(self) -> dict[str, Any]:
        """As it stands in a metrics file."""
        return {"dataset": self.name, "options": dict(self.options), "limit": self.limit}

    def open(self, metric: str) -> Sequence[Record]:
        """Records for a metric.

        Raises:
            ValueError: neither a name nor a folder, a wrong option, no record, or nothing that the metric needs.
            FileNotFoundError: its files are not there.
        """
        options = dict(self.options)
        name = self.name
        if name not in list_datasets() and Path(name).is_dir():
            name, options["root"] = "coco_folder", name
        if "role" in inspect.signature(dataset_entry(name).loader).parameters:
            options.setdefault("role", _ROLES[metric])
        records = get_dataset(name, **options)
        if not len(records):
            raise ValueError(f"data set {self.name} has no records to score {metric} on")
        return records


def score_predictions(
    files: Sequence[str | Path],
    data: ScoredData,
    *,
    metrics: Sequence[str] = (),
    out: str | Path,
    workers: int = 1,
    show: bool = True,
    intervals: bool = True,
) -> dict[str, float]:
    """Score files of predictions and write ``metrics.json`` and ``tables.json`` into ``out``.

    Args:
        files: see ``read_predictions``; at most one of each kind.
        data: the truth.
        metrics: of panoptic, semantic, detection, referring; empty takes all that the files allow.
        out: directory for both.
        workers: processes that share the records.
        show: print the table.
        intervals: also give 95 % confidence intervals.

    Returns:
        Names and percent, as in the file.

    Raises:
        ValueError: an unknown metric, no file for it, or wrong contents of a file; the message names file and entry.
        FileNotFoundError: a file, a PNG or the data set is not there.
    """
    started = time.perf_counter()
    read = [read_predictions(path) for path in files]
    chosen = by_metric(read, metrics)
    results: dict[str, float] = {}
    details = Details({} if intervals else None)
    sources: dict[str, dict[str, str]] = {}
    vocabularies: dict[str, str] = {}
    for metric, file in chosen.items():
        records = data.open(metric)
        scorer = score_records(make_scorer(metric, file, records=records), records, limit=data.limit, workers=workers)
        results |= scorer.compute()
        details.add(scorer)
        sources[metric] = file_hashes(records)
        if (vocabulary := getattr(records[0], "vocabulary", None)) is not None:
            vocabularies[metric] = vocabulary_hash(vocabulary)
    write_tables(Path(out) / "tables.json", details.tables)
    write_metrics(
        Path(out) / "metrics.json",
        results,
        intervals=details.intervals,
        protocol={
            "predictions": {str(file.path): predictions_hash(file) for file in read},
            "metrics": list(chosen),
            "vocabulary_hash": vocabularies,
            "expressions": "per_sentence",
            "seconds": round(time.perf_counter() - started, 1),
        },
        data={"sets": dict.fromkeys(chosen, data.as_dict()), "files": sources},
    )
    if show:
        print_metrics(results, details.intervals)
    return results


def file_hashes(records: Sequence[Record]) -> dict[str, str]:
    """Annotation file -> SHA-256; empty where the data has none."""
    source = getattr(records, "files", None)
    return {} if source is None else source.hashes()


def vocabulary_hash(vocabulary: Vocabulary) -> str:
    """First 16 hexadecimal digits of the SHA-256 of names, kinds and ids, in their order."""
    content = [vocabulary.names, [bool(flag) for flag in vocabulary.isthing], vocabulary.dataset_ids]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]


def predictions_hash(file: PredictionFile) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a file and, for panoptic ones, of its PNGs.

    Raises:
        FileNotFoundError: a PNG is not there.
    """
    digest = sha256(file.path)
    if isinstance(file, PanopticFile):
        digest = hashlib.sha256("".join([digest, *map(sha256, file.pictures())]).encode()).hexdigest()
    return digest[:16]


def by_metric(files: Sequence[PredictionFile], metrics: Sequence[str]) -> dict[str, PredictionFile]:
    """The file of every metric.

    Args:
        files: at most one of each kind. metrics: names; empty takes all that the files allow.

    Raises:
        ValueError: an unknown metric, no file for it, or two.
    """
    for metric in metrics:
        check_choice("metric", metric, choices=METRICS)
    found = {}
    for metric in metrics or METRICS:
        fitting = [file for file in files if isinstance(file, _KINDS[metric])]
        if len(fitting) > 1:
            raise ValueError(f"two files give {metric}: {fitting[0].path} and {fitting[1].path}; score them one by one")
        if fitting:
            found[metric] = fitting[0]
        elif metrics:
            names = ", ".join(str(file.path) for file in files)
            raise ValueError(f"{metric} needs {_NEEDS[_KINDS[metric]]}; there is none among {names}")
    return found


_NEEDS = {
    PanopticFile: "a panoptic JSON with a folder of PNGs",
    DetectionFile: "a list of COCO results",
    ReferringFile: "a list of answers to expressions",
}


def score_records(
    scorer: Scorer,
    records: Sequence[Record],
    *,
    limit: int = 0,
    workers: int = 1,
    advance: Callable[[], None] | None = None,
) -> Scorer:
    """The scorer after it has seen the records.

    Args:
        scorer: a new one. records: the truth. limit: only so many; 0: all. workers: processes that share them.
        advance: called after each record, where there is one process.

    Raises:
        ValueError: wrong contents of its file; the message names file and entry.
        FileNotFoundError: a PNG is not there.
    """
    count = min(limit, len(records)) if limit else len(records)
    file = scorer.file
    if not isinstance(file, ReferringFile):
        _check_images(file, records)
    shares = [(records, range(first, count, workers)) for first in range(min(workers, count))]
    if len(shares) == 1:
        scorer = _share(scorer, shares[0], advance=advance)
    else:
        with ProcessPoolExecutor(len(shares)) as pool:
            for part in pool.map(_share, repeat(scorer), shares):
                scorer.merge(part)
    if isinstance(file, ReferringFile) and count == len(records) and (unused := file.keys() - scorer.used):
        raise ValueError(f"{file.path} answers {sorted(map(str, unused))[:3]}, which the data does not ask")
    return scorer


def make_scorer(metric: str, file: PredictionFile, *, records: Sequence[Record]) -> Scorer:
    """A scorer of a file.

    Args:
        metric: of panoptic, semantic, detection, referring. file: of the kind that it needs. records: the truth.

    Raises:
        ValueError: the data has no list of names, and the metric needs one.
    """
    if isinstance(file, ReferringFile):
        return ReferringScorer(file)
    vocabulary = records[0].vocabulary
    if vocabulary is None:
        raise ValueError(f"{metric} needs data with a list of names")
    if isinstance(file, PanopticFile):
        return PanopticScorer(file, vocabulary) if metric == "panoptic" else SemanticScorer(file, vocabulary)
    first = next((record for record in records if record.annotations), records[0])
    masks = any(annotation.segmentation is not None for annotation in first.annotations)
    return DetectionScorer(file, vocabulary, masks=masks, max_detections=getattr(records, "max_detections", 100))


def _check_images(file: PanopticFile | DetectionFile, records: Sequence[Record]) -> None:
    image_id = getattr(records, "image_id", lambda place: records[place].image_id)
    unknown = set(file.image_ids) - {image_id(place) for place in range(len(records))}
    if unknown:
        shown = ", ".join(sorted(map(str, unknown))[:3])
        raise ValueError(f"{file.path} has {len(unknown)} images that the data does not have: {shown} ...")


def _share(
    scorer: Scorer, share: tuple[Sequence[Record], range], *, advance: Callable[[], None] | None = None
) -> Scorer:
    """The scorer after the records at some places."""
    records, places = share
    for place in places:
        scorer.update(records[place])
        if advance is not None:
            advance()
    return scorer
