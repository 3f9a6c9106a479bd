"""The evaluation sets of a configuration, one by one, and what the metrics file says about them."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mvplm.build_training import open_records
from mvplm.config import FORMS_OF_SYSTEM, Config, EvalSetConfig, config_hash
from mvplm.data.box_questions import named_objects
from mvplm.data.catalog import get_dataset
from mvplm.data.evaluation import EvaluationBatch, evaluation_batches
from mvplm.data.streamed_list import Share
from mvplm.data.views import RecordView
from mvplm.engine import add_over_processes, rank_and_world, wait_for_processes
from mvplm.evaluation import make_evaluator, protocols, set_averages
from mvplm.evaluation.evaluators import Evaluator
from mvplm.evaluation.naming import prefixed
from mvplm.evaluation.referring import STATUSES
from mvplm.evaluation.referring_evaluator import ReferringEvaluator
from mvplm.heap import EVERY, trim_heap
from mvplm.measuring.asking import Asking, asked_key
from mvplm.measuring.details import Details
from mvplm.measuring.given_boxes import GivenBoxPerceiver
from mvplm.measuring.saved_predictions import PredictionSaver
from mvplm.measuring.scoring import vocabulary_hash
from mvplm.perceiver import Perceiver
from mvplm.structures import Record, Vocabulary
from mvplm.textmask.result import STATUSES as WRITTEN_STATUSES

PREDICTIONS = "predictions"
"""Folder of the written predictions, below that of the metrics file."""
_LOGGER = logging.getLogger("mvplm")
_SENTENCES = ("res", "gres", "rec")


@dataclass(frozen=True)
class SetResult:
    """One evaluation set.

    Attributes:
        metrics: name -> percent, names as in the metrics file.
        counts: images, for sentences expressions and answers of each status, and for models that write masks how their
            answers were read.
        limit: records that were asked for, 0 for all.
        vocabulary_hash: of the names of the data; None without names.
        asked_hash: of the names that were asked for, synonyms included; None without names.
        files: metric -> written file of predictions.
    """

    metrics: dict[str, float]
    counts: dict[str, int]
    limit: int
    vocabulary_hash: str | None = None
    asked_hash: str | None = None
    files: dict[str, Path] = field(default_factory=dict)


def evaluate_sets(
    perceiver: Perceiver,
    config: Config,
    *,
    limit: int = 0,
    predictions: Path | None = None,
    details: Details | None = None,
) -> dict[str, SetResult]:
    """Evaluate every set of ``config.eval``.

    Args:
        perceiver: the model. config: the sets.
        limit: only so many records of each; 0 takes what the sets say.
        predictions: folder for the answers, one below it for each set; None writes none.
        details: takes tables and intervals of every set; None works none out.
    """
    found: dict[str, SetResult] = {}
    for name, entry in config.eval.sets.items():
        _LOGGER.info("evaluating %s: %s on %s", name, entry.task, entry.dataset)
        folder = None if predictions is None else predictions / name
        size = config.eval.batch_size
        most = limit or entry.limit
        found[name] = _evaluate_set(perceiver, entry, batch_size=size, limit=most, folder=folder, details=details)
        joined_metrics(found)
    return found


def joined_metrics(found: Mapping[str, SetResult]) -> dict[str, float]:
    """Metrics of all sets. Raises ValueError where two have one name."""
    metrics: dict[str, float] = {}
    for name, result in found.items():
        if twice := sorted(set(result.metrics) & set(metrics)):
            raise ValueError(f"eval.sets.{name} gives {twice[0]} a second time; set its prefix")
        metrics |= result.metrics
    return metrics | set_averages(metrics)


def _evaluate_set(
    perceiver: Any,
    entry: EvalSetConfig,
    *,
    batch_size: int,
    limit: int,
    folder: Path | None,
    details: Details | None,
) -> SetResult:
    dataset = open_records(perceiver.config, entry)
    if entry.form == "category":
        dataset = RecordView(dataset, change=named_objects)
    if entry.boxes != "predicted":
        perceiver = GivenBoxPerceiver(perceiver, entry.boxes, form=_known_form(perceiver.config, entry))
    vocabulary: Vocabulary | None = dataset[0].vocabulary
    evaluator = _evaluator(perceiver.config, entry, dataset=dataset)
    rank, world = rank_and_world()
    sentences = entry.task if entry.task in _SENTENCES else None
    form = _known_form(perceiver.config, entry)
    asking = Asking() if sentences else Asking.of(perceiver.config, dataset)
    batches = evaluation_batches(
        dataset,
        asking.mapper(perceiver.mapper(form or ("referring" if sentences else entry.task), sentences=sentences)),
        batch_size=batch_size,
        collate=perceiver.collate,
        limit=limit,
        rank=rank,
        world=world,
    )
    count = min(limit, len(dataset)) if limit else len(dataset)
    with ExitStack() as opened:
        saver = None
        if folder is not None:
            share = Share(rank, world, wait_for_processes)
            saver = opened.enter_context(PredictionSaver(folder, evaluator, vocabulary=vocabulary, share=share))
        advance = opened.enter_context(progress_bar(-(-count // world), entry.task))
        session = _Session(perceiver, asking, evaluator, saver)
        session.run(batches, advance=advance)
    counts = {"images": count, **session.written_counts()}
    if isinstance(evaluator, ReferringEvaluator):
        answers = add_over_processes({status: evaluator.statuses[status] for status in STATUSES})
        counts |= {"expressions": sum(answers.values()), **answers}
    results = evaluator.compute()
    if details is not None:
        details.add(evaluator, results, prefix=entry.prefix)
    trim_heap()
    return SetResult(
        prefixed(results, entry.prefix),
        counts,
        limit,
        None if vocabulary is None else vocabulary_hash(vocabulary),
        asking.hash(None if sentences else vocabulary),
        {} if saver is None else saver.files,
    )


def _known_form(config: Config, entry: EvalSetConfig) -> str | None:
    """The set's kind of question where the model knows such."""
    return entry.form if entry.form in FORMS_OF_SYSTEM[config.system] else None


def _evaluator(config: Config, entry: EvalSetConfig, *, dataset: Sequence[Record]) -> Evaluator:
    task = "referring" if entry.task in _SENTENCES else entry.task
    # A prefix names the whole set, so its names are not told apart.
    groups = getattr(dataset, "name_groups", None) if task == "detection" and entry.prefix is None else None
    return make_evaluator(
        task,
        # Phrases are the pictures' own: no list of names is shared.
        None if task == "grounding" else dataset[0].vocabulary,
        groups=groups,
        rules=getattr(dataset, "detection_rules", None),
        protocol=config.eval.res_protocol,
        dataset=entry.dataset,
    )


@dataclass(frozen=True)
class _Session:
    """The model is asked, its answers are measured and written.

    Attributes:
        perceiver: the model. asking: how it is asked. evaluator: measures. saver: writes; None writes nothing.
        written: how many answers of a model that writes had each status, in this process.
    """

    perceiver: Any
    asking: Asking
    evaluator: Evaluator
    saver: PredictionSaver | None
    written: Counter[str] = field(default_factory=Counter)

    def written_counts(self) -> dict[str, int]:
        """``written/STATUS`` over all processes; nothing for models that do not write."""
        if getattr(self.perceiver.config, "system", "mvplm") != "text4seg":
            return {}
        return add_over_processes({f"written/{status}": self.written[status] for status in WRITTEN_STATUSES})

    def run(self, batches: Iterator[EvaluationBatch], *, advance: Callable[[int], None]) -> None:
        """Ask about every batch; ``advance`` is told how many records are done."""
        seen: set[int] = set()
        trimmed = 0
        for batch in batches:
            looked = self.asking.heard(self.perceiver.look(batch.batch))
            found = {task: self.perceiver.answer(looked, task=task) for task in self.evaluator.tasks}
            for row, (record, place) in enumerate(zip(batch.records, batch.expressions, strict=True)):
                answers = {task: perceptions[row] for task, perceptions in found.items()}
                self.written.update(answer.written.status for answer in [*answers.values()][:1] if answer.written)
                expression = None if place is None else record.expressions[place]
                self.evaluator.update(record, answers, expression=expression)
                if self.saver is not None:
                    self.saver.write(record, answers, expression=expression, place=batch.indices[row])
            seen |= set(batch.indices)
            advance(len(seen))
            if len(seen) >= trimmed + EVERY:
                trimmed = len(seen)
                trim_heap()


@contextmanager
def progress_bar(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; yields a function that takes the number of records done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda done: progress.update(bar, completed=done)


def protocol_of(model: Config, config: Config, *, found: Mapping[str, SetResult]) -> dict[str, Any]:
    """How sets were measured: what the model's own configuration and that of the evaluation say about it."""
    asked = any(entry.task in _SENTENCES for entry in config.eval.sets.values())
    return {
        "config_hash": config_hash(model),
        "mode": model.infer_mode,
        "post": asdict(config.post),
        "behaviour": model.behaviour,
        "res_protocol": model.eval.res_protocol,
        **({"referring": protocols.get(model.eval.res_protocol).as_dict()} if asked else {}),
        "synonyms": model.names.synonyms,
        "exclude_eval_images": model.data.exclude_eval_images,
        "image": {
            "size": model.image.size,
            "resize": "longest side to size",
            "pad": "right and bottom to a square",
            "pad_value": model.image.pad_value,
        },
        "vocabulary_hash": {n: result.vocabulary_hash for n, result in found.items() if result.vocabulary_hash},
        "asked_hash": {
            asked_key(config.eval.sets[n]): result.asked_hash for n, result in found.items() if result.asked_hash
        },
    }


def data_of(config: Config, *, found: Mapping[str, SetResult], out: str | Path) -> dict[str, Any]:
    """What sets were measured on, enough to open them again; where their predictions lie, seen from ``out``.

    Annotation files are told by their hashes, the drawn world by its version.
    """
    sets, files = {}, {}
    for name, entry in config.eval.sets.items():
        result = found[name]
        written = {metric: path.relative_to(out).as_posix() for metric, path in result.files.items()}
        sets[name] = {**asdict(entry), "limit": result.limit, "counts": result.counts, "predictions": written}
        source = getattr(get_dataset(entry.dataset, **entry.options), "files", None)
        if source is not None:
            files[name] = source.hashes()
    data: dict[str, Any] = {"sets": sets, **({"files": files} if files else {})}
    if any(entry.dataset.startswith("scenes/") for entry in config.eval.sets.values()):
        from mvplm.data.scenes import WORLD_VERSION, world_hash

        data |= {"scenes_version": WORLD_VERSION, "scenes_hash": world_hash()}
    return data
