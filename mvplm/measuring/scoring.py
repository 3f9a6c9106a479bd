"""Scoring predictions of any system from files, with no model loaded: the same metrics, the same ``metrics.json``."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import (
    LIST_FILES,
    DetectionFile,
    PredictionFile,
    ReferringFile,
    SemanticFile,
    read_predictions,
)
from mvplm.data.preparation import sha256
from mvplm.data.views import image_ids
from mvplm.evaluation import Protocol, print_metrics, protocols, write_metrics, write_tables
from mvplm.evaluation.naming import prefixed
from mvplm.evaluation.referring import STATUSES
from mvplm.heap import EVERY, trim_heap
from mvplm.measuring.details import Details
from mvplm.measuring.reopening import SavedSet, reopen
from mvplm.measuring.scored_data import ScoredData
from mvplm.measuring.scorers import DetectionScorer, PanopticScorer, ReferringScorer, Scorer, SemanticScorer
from mvplm.structures import Record, Vocabulary
from mvplm.structures.choices import check_choice

__all__ = [
    "METRICS",
    "SavedSet",
    "ScoredData",
    "predictions_hash",
    "reopen",
    "score_file",
    "score_predictions",
    "vocabulary_hash",
]

# The kinds of files that give a metric; the first one that is there does.
_KINDS: dict[str, tuple[type[PredictionFile], ...]] = {
    "panoptic": (PanopticFile,),
    "semantic": (SemanticFile, PanopticFile),
    "detection": (DetectionFile,),
    "referring": (ReferringFile,),
}
METRICS = tuple(_KINDS)


def score_predictions(
    files: Sequence[str | Path],
    data: ScoredData,
    *,
    metrics: Sequence[str] = (),
    protocol: Protocol | str = "per_sentence",
    out: str | Path,
    workers: int = 1,
    show: bool = True,
    intervals: bool = True,
) -> dict[str, float]:
    """Score files of predictions and write ``metrics.json`` and ``tables.json`` into ``out``.

    Args:
        files: see ``read_predictions``; at most one of each kind.
        data: the truth.
        metrics: of panoptic, semantic, detection, referring; empty takes all that the files allow. An empty list of
            predictions counts as what a single metric needs.
        protocol: how expressions are counted, or the name of a preset.
        out: directory for both.
        workers: processes that share the records.
        show: print the table.
        intervals: also give 95 % confidence intervals.

    Returns:
        Names and percent, as in the file.

    Raises:
        ValueError: an unknown metric or protocol, no file for a metric, or wrong contents; it names file and entry.
        FileNotFoundError: a file, a PNG or the data set is not there.
    """
    started = time.perf_counter()
    protocol = protocols.get(protocol) if isinstance(protocol, str) else protocol
    empty = LIST_FILES.get(metrics[0], DetectionFile) if len(metrics) == 1 else DetectionFile
    read = [read_predictions(path, empty=empty) for path in files]
    chosen = by_metric(read, metrics)
    found = _Found(Details({} if intervals else None))
    for metric, file in chosen.items():
        records = data.open(metric, protocol)
        scorer = make_scorer(metric, file, records=records, data=data, protocol=protocol)
        score_records(scorer, records, limit=data.limit, workers=workers)
        found.take(metric, scorer, records=records, data=data)
        found.sets[metric] |= {"predictions": {metric: os.path.relpath(file.path, out)}}
    write_tables(Path(out) / "tables.json", found.details.tables)
    write_metrics(
        Path(out) / "metrics.json",
        found.results,
        intervals=found.details.intervals,
        protocol={
            "predictions": {str(file.path): predictions_hash(file) for file in read},
            "metrics": list(chosen),
            "vocabulary_hash": found.vocabularies,
            **({"res_protocol": protocol.name, "referring": protocol.as_dict()} if "referring" in chosen else {}),
            "seconds": round(time.perf_counter() - started, 1),
        },
        data={"sets": found.sets, "files": found.sources},
    )
    if show:
        print_metrics(found.results, found.details.intervals)
    return found.results


@dataclass
class _Found:
    """What goes into the files: details and results; by metric sets, hashes of annotation files and of names."""

    details: Details
    results: dict[str, float] = field(default_factory=dict)
    sets: dict[str, dict[str, Any]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    vocabularies: dict[str, str] = field(default_factory=dict)

    def take(self, metric: str, scorer: Scorer, *, records: Sequence[Record], data: ScoredData) -> None:
        """Note what a metric gave, and what tells its data from any other."""
        results = scorer.compute()
        self.results |= prefixed(results, data.prefix)
        self.details.add(scorer, results, prefix=data.prefix)
        self.sets[metric] = data.described() | {"counts": _counts(scorer, records, limit=data.limit)}
        self.sources[metric] = file_hashes(records)
        if (vocabulary := getattr(records[0], "vocabulary", None)) is not None:
            self.vocabularies[metric] = vocabulary_hash(vocabulary)


def _counts(scorer: Scorer, records: Sequence[Record], *, limit: int) -> dict[str, int]:
    counts = {"images": min(limit, len(records)) if limit else len(records)}
    if isinstance(scorer, ReferringScorer):
        answers = {status: scorer.expressions.statuses[status] for status in STATUSES}
        counts |= {"expressions": sum(answers.values()), **answers}
    return counts


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
        of_kinds = ([file for file in files if isinstance(file, kind)] for kind in _KINDS[metric])
        fitting = next((some for some in of_kinds if some), [])
        if len(fitting) > 1:
            raise ValueError(f"two files give {metric}: {fitting[0].path} and {fitting[1].path}; score them one by one")
        if fitting:
            found[metric] = fitting[0]
        elif metrics:
            names = ", ".join(str(file.path) for file in files)
            raise ValueError(f"{metric} needs {_NEEDS[metric]}; there is none among {names}")
    return found


_NEEDS = {
    "panoptic": "a panoptic JSON with a folder of PNGs",
    "semantic": "a list of masks of categories, or a panoptic JSON with a folder of PNGs",
    "detection": "a list of COCO results",
    "referring": "a list of answers to expressions",
}


def score_file(
    file: PredictionFile,
    data: ScoredData,
    *,
    metric: str,
    protocol: Protocol | str = "per_sentence",
    workers: int = 1,
) -> Scorer:
    """The scorer after all records; its metrics are still to be computed.

    Args:
        file: the predictions. data: the truth.
        metric: one that the file gives.
        protocol: how expressions are counted.
        workers: processes that share the records.

    Raises:
        ValueError: wrong contents of the file; the message names file and entry.
    """
    protocol = protocols.get(protocol) if isinstance(protocol, str) else protocol
    records = data.open(metric, protocol)
    scorer = make_scorer(metric, file, records=records, data=data, protocol=protocol)
    return score_records(scorer, records, limit=data.limit, workers=workers)


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


def make_scorer(
    metric: str, file: PredictionFile, *, records: Sequence[Record], data: ScoredData, protocol: Protocol
) -> Scorer:
    """A scorer of a file.

    Args:
        metric: of panoptic, semantic, detection, referring. file: of the kind that it needs.
        records: the truth. data: what they are. protocol: how expressions are counted.

    Raises:
        ValueError: the data has no list of names, and the metric needs one.
    """
    if isinstance(file, ReferringFile):
        return ReferringScorer(file, protocol=protocol, dataset=data.name)
    vocabulary = records[0].vocabulary
    if vocabulary is None:
        raise ValueError(f"{metric} needs data with a list of names")
    if isinstance(file, PanopticFile) and metric == "panoptic":
        return PanopticScorer(file, vocabulary)
    if isinstance(file, PanopticFile | SemanticFile):
        return SemanticScorer(file, vocabulary)
    first = next((record for record in records if record.annotations), records[0])
    whole = data.prefix is not None or data.task not in ("", "detection")
    return DetectionScorer(
        file,
        vocabulary,
        masks=any(annotation.segmentation is not None for annotation in first.annotations),
        rules=getattr(records, "detection_rules", None),
        groups=None if whole else getattr(records, "name_groups", None),
    )


def _check_images(file: PanopticFile | DetectionFile | SemanticFile, records: Sequence[Record]) -> None:
    unknown = set(file.image_ids) - set(image_ids(records))
    if unknown:
        shown = ", ".join(sorted(map(str, unknown))[:3])
        raise ValueError(f"{file.path} has {len(unknown)} images that the data does not have: {shown} ...")


def _share(
    scorer: Scorer, share: tuple[Sequence[Record], range], *, advance: Callable[[], None] | None = None
) -> Scorer:
    """The scorer after the records at some places."""
    records, places = share
    for done, place in enumerate(places, start=1):
        scorer.update(records[place])
        if advance is not None:
            advance()
        if done % EVERY == 0:
            trim_heap()
    return scorer
