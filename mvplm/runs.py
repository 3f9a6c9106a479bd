"""Whole runs: training and evaluation from a configuration. The command line and ``tools/`` call nothing else."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvplm.build import attach_adapters, build_model, build_postprocess, build_tokenizer
from mvplm.build_training import (
    build_criterion,
    build_mixture,
    build_optimizer_settings,
    build_trainer_settings,
    build_weights,
    open_records,
)
from mvplm.config import Config, EvalSetConfig, config_hash, to_yaml
from mvplm.data.catalog import get_dataset
from mvplm.data.evaluation import evaluation_batches
from mvplm.engine import (
    CheckpointHook,
    CheckpointStore,
    CurvesHook,
    EvalHook,
    Hook,
    MetricsWriter,
    NoteHook,
    ProgressHook,
    Trainer,
    TrainSummary,
    checkpoint_activations,
    freeze,
    join_processes,
    load_weights,
    open_checkpoint,
    rank_and_world,
    seed_everything,
    started_again,
)
from mvplm.evaluation import make_evaluator, metrics_table, protocols, write_metrics
from mvplm.fingerprint import check_fingerprint
from mvplm.initial import load_initial_weights
from mvplm.perceiver import Perceiver
from mvplm.pretrained import CONFIG_FILE, TOKENIZER_DIR, WEIGHTS_FILE, load_perceiver, starting_weights
from mvplm.prompts import PromptTokenizer
from mvplm.structures import Vocabulary

_LOGGER = logging.getLogger("mvplm")
_SENTENCES = ("res", "gres", "rec")


def run_training(
    config: Config, *, resume: bool = False, overwrite: bool = False, hooks: tuple[Hook, ...] = ()
) -> TrainSummary:
    """Train as configured; everything is written below ``config.train.output``.

    Args:
        config: the run.
        resume: continue from the newest checkpoint of the output directory, bit-identically. Without it the run still
            does so when ``train.auto_resume`` is set, or when an elastic launcher has started it again, and there is
            one.
        overwrite: a run from step 0 may replace the checkpoints it finds.
        hooks: more hooks, run after the standard ones.

    Raises:
        ValueError: the output directory holds another run, or there is nothing to resume.
    """
    if config.system == "text4seg":
        from mvplm.text_mask_runs import run_text_training

        return run_text_training(config, resume=resume, overwrite=overwrite, hooks=hooks)
    out = Path(config.train.output)
    resume = start_run(config, resume=resume)
    tokenizer = build_tokenizer(config)
    model = build_model(config, tokenizer, adapters=False)
    if not resume:
        load_initial_weights(model, config, tokenizer=tokenizer)
    if config.train.init_from and not resume:
        start = starting_weights(config.train.init_from)
        check_fingerprint(start, config, tokenizer=tokenizer, skip=config.train.init_skip)
        load_weights(
            model,
            start,
            allow_missing=config.train.init_allow,
            skip=config.train.init_skip,
        )
    attach_adapters(model, config, tokenizer=tokenizer)
    freeze(model, config.train.freeze)
    if config.train.gradient_checkpointing:
        model.llm.gradient_checkpointing(True)
        checkpoint_activations([*model.pixel_decoder.encoder, *model.decoder.layers])
    if config.model.connector.norm == "batch" and rank_and_world()[1] > 1 and torch.cuda.is_available():
        model.connector = nn.SyncBatchNorm.convert_sync_batchnorm(model.connector)
    mixture = build_mixture(config, tokenizer)
    trainer = Trainer(
        model,
        build_criterion(config),
        weights=build_weights(config),
        mixture=mixture,
        settings=build_trainer_settings(config),
        optimizer=build_optimizer_settings(config),
        hooks=(*_mvplm_hooks(config, tokenizer, overwrite=overwrite), *hooks),
    )
    return trainer.train(resume_from=out / "checkpoints" if resume else None)


def start_run(config: Config, *, resume: bool) -> bool:
    """Make the output directory, join the other processes, seed; returns whether the run goes on from a checkpoint."""
    out = Path(config.train.output)
    out.mkdir(parents=True, exist_ok=True)
    join_processes(config.train.device)
    if config.train.auto_resume or started_again():
        resume = resume or CheckpointStore(out / "checkpoints").latest() is not None
    seed_everything(config.train.seed)
    return resume


def exit_code(summary: TrainSummary) -> int:
    """What a training process ends with: 130 after Ctrl-C; 0 after SIGTERM, as schedulers expect, and otherwise."""
    return 130 if summary.interrupted == "SIGINT" else 0


def _mvplm_hooks(config: Config, tokenizer: PromptTokenizer, *, overwrite: bool) -> list[Hook]:
    def extras(folder: Path) -> None:
        tokenizer.save_pretrained(folder / TOKENIZER_DIR)

    evaluate = _evaluation_function(config, tokenizer)
    return standard_hooks(config, evaluate=evaluate, extras=extras, overwrite=overwrite)


def standard_hooks(
    config: Config,
    *,
    evaluate: Callable[[nn.Module], Mapping[str, float]],
    extras: Callable[[Path], None],
    overwrite: bool,
) -> list[Hook]:
    """Notes, logs, progress, evaluation, curves and checkpoints of a run.

    Args:
        config: the run. evaluate: metrics of the model. overwrite: see :func:`run_training`.
        extras: writes what belongs to a checkpoint besides weights and configuration.
    """
    from mvplm.visualize import plot_curves

    train = config.train
    out = Path(train.output)
    log = out / "metrics.jsonl"
    hooks: list[Hook] = [
        NoteHook(out / CONFIG_FILE, to_yaml(config)),
        MetricsWriter(log, tensorboard=out / "tensorboard"),
        ProgressHook(),
    ]
    if train.eval_every and config.eval.sets:
        hooks.append(EvalHook(evaluate, every=train.eval_every))
    hooks.append(CurvesHook(log, out / "curves.png", draw=plot_curves))

    def written(folder: Path) -> None:
        (folder / CONFIG_FILE).write_text(to_yaml(config), encoding="utf-8")
        extras(folder)

    hooks.append(
        CheckpointHook(
            out / "checkpoints",
            every=train.checkpoint_every or train.steps,
            keep=train.keep_checkpoints,
            overwrite=overwrite,
            extras=written,
        )
    )
    return hooks


def _evaluation_function(config: Config, tokenizer: PromptTokenizer) -> Callable[[nn.Module], Mapping[str, float]]:
    def evaluate(model: nn.Module) -> Mapping[str, float]:
        perceiver = Perceiver(model, tokenizer, config=config, settings=build_postprocess(config))
        return evaluate_perceiver(perceiver, config)

    return evaluate


def run_evaluation(
    config: Config,
    *,
    weights: str | Path | None = None,
    limit: int = 0,
    out: str | Path,
    show: bool = True,
    pictures: int = 0,
) -> dict[str, float]:
    """Evaluate every set of ``config.eval`` and write ``metrics.json`` into ``out``.

    Args:
        config: what to evaluate, and the model unless ``weights`` names a model directory.
        weights: a run's directory (its newest checkpoint, averaged weights when there are any), a checkpoint, a model
            directory or a shipped name; None takes the run in ``config.train.output``.
        limit: only so many records of each set; 0 takes what the configuration says.
        out: directory for ``metrics.json``.
        show: print the table.
        pictures: so many answers of each set are drawn in ``report.html``; 0 draws none.

    With several processes each takes its share of the records, all return the same metrics, and the first writes.
    """
    join_processes(config.train.device)
    perceiver = load_for_evaluation(config, weights)
    started = time.perf_counter()
    metrics = evaluate_perceiver(perceiver, config, limit=limit)
    if rank_and_world()[0]:
        return metrics
    sets = {name: {**asdict(entry), "limit": limit or entry.limit} for name, entry in config.eval.sets.items()}
    write_metrics(
        Path(out) / "metrics.json",
        metrics,
        protocol={
            "weights": str(weights or config.train.output),
            "config_hash": config_hash(perceiver.config),
            "mode": perceiver.config.infer_mode,
            "post": asdict(config.post),
            "behaviour": perceiver.config.behaviour,
            "res_protocol": perceiver.config.eval.res_protocol,
            **_counting(perceiver.config, config.eval.sets.values()),
            "synonyms": perceiver.config.names.synonyms,
            "exclude_eval_images": perceiver.config.data.exclude_eval_images,
            "seconds": round(time.perf_counter() - started, 1),
            "threads": torch.get_num_threads(),
        },
        data={"sets": sets, **_data_versions(config)},
    )
    if pictures:
        from mvplm.pictures import write_report

        write_report(perceiver, config, metrics=metrics, out=out, count=pictures)
    if show:
        from rich.console import Console

        Console().print(metrics_table(metrics))
    return metrics


def load_for_evaluation(config: Config, weights: str | Path | None) -> Any:
    """A perceiver from a run's checkpoint, a model directory or a shipped name; thresholds are those of ``config``."""
    if config.system == "text4seg":
        from mvplm.text_mask_runs import load_text_for_evaluation

        return load_text_for_evaluation(config, weights)
    source = Path(weights or config.train.output)
    if (source / "checkpoints").is_dir() or source.name.startswith("step_"):
        checkpoint = open_checkpoint(source / "checkpoints" if (source / "checkpoints").is_dir() else source)
        tokenizer = PromptTokenizer.from_pretrained(checkpoint.path / TOKENIZER_DIR)
        model = build_model(config, tokenizer)
        load_weights(model, checkpoint.path / WEIGHTS_FILE)
        average = checkpoint.path / "ema.safetensors"
        if average.is_file():
            load_weights(model, average, allow_missing=("",))
        place = "cuda" if config.train.device == "auto" and torch.cuda.is_available() else "cpu"
        return Perceiver(model.to(place), tokenizer, config=config, settings=build_postprocess(config))
    perceiver = load_perceiver(weights or config.train.output)
    perceiver.settings = build_postprocess(config)
    perceiver.config.infer = config.infer
    perceiver.config.eval.res_protocol = config.eval.res_protocol
    return perceiver


def evaluate_perceiver(perceiver: Any, config: Config, *, limit: int = 0) -> dict[str, float]:
    """Metrics of every set of ``config.eval``, names as in the metrics file."""
    metrics: dict[str, float] = {}
    for name, entry in config.eval.sets.items():
        _LOGGER.info("evaluating %s: %s on %s", name, entry.task, entry.dataset)
        found = _evaluate_set(perceiver, entry, batch_size=config.eval.batch_size, limit=limit or entry.limit)
        if twice := sorted(set(found) & set(metrics)):
            raise ValueError(f"eval.sets.{name} gives {twice[0]} a second time; set its prefix")
        metrics |= found
    return metrics


def _evaluate_set(perceiver: Any, entry: EvalSetConfig, *, batch_size: int, limit: int) -> dict[str, float]:
    dataset = open_records(perceiver.config, entry)
    task = "referring" if entry.task in _SENTENCES else entry.task
    vocabulary: Vocabulary | None = dataset[0].vocabulary
    # A prefix names the whole set, so its names are not told apart.
    groups = getattr(dataset, "name_groups", None) if task == "detection" and entry.prefix is None else None
    most = getattr(dataset, "max_detections", 100)
    evaluator = make_evaluator(
        task,
        vocabulary,
        groups=groups,
        max_detections=most,
        protocol=perceiver.config.eval.res_protocol,
        dataset=entry.dataset,
    )
    count = min(limit, len(dataset)) if limit else len(dataset)
    rank, world = rank_and_world()
    batches = evaluation_batches(
        dataset,
        perceiver.mapper(task, sentences=entry.task if entry.task in _SENTENCES else None),
        batch_size=batch_size,
        collate=perceiver.collate,
        limit=limit,
        rank=rank,
        world=world,
    )
    count = -(-count // world)
    seen: set[int] = set()
    with progress_bar(count, entry.task) as advance:
        for batch in batches:
            looked = perceiver.look(batch.batch)
            found = {asked: perceiver.answer(looked, task=asked) for asked in evaluator.tasks}
            for row, (record, place) in enumerate(zip(batch.records, batch.expressions, strict=True)):
                answers = {asked: perceptions[row] for asked, perceptions in found.items()}
                expression = None if place is None else record.expressions[place]
                evaluator.update(record, answers, expression=expression)
            seen |= set(batch.indices)
            advance(len(seen))
    results = evaluator.compute()
    if entry.prefix is None:
        return results
    return {f"{entry.prefix}/{name.partition('/')[2]}": value for name, value in results.items()}


@contextmanager
def progress_bar(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; yields a function that takes the number of records done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda done: progress.update(bar, completed=done)


def _counting(config: Config, sets: Iterable[EvalSetConfig]) -> dict[str, Any]:
    """``referring``, the protocol by which expressions are counted, where there are any."""
    asked = any(entry.task in _SENTENCES for entry in sets)
    return {"referring": protocols.get(config.eval.res_protocol).as_dict()} if asked else {}


def _data_versions(config: Config) -> dict[str, Any]:
    """What tells the data of an evaluation from any other: annotation files by hash, and the drawn world's version."""
    files = {}
    for name, entry in config.eval.sets.items():
        source = getattr(get_dataset(entry.dataset, **entry.options), "files", None)
        if source is not None:
            files[name] = source.hashes()
    out: dict[str, Any] = {"files": files} if files else {}
    if any(entry.dataset.startswith("scenes/") for entry in config.eval.sets.values()):
        from mvplm.data.scenes import WORLD_VERSION, world_hash

        out |= {"scenes_version": WORLD_VERSION, "scenes_hash": world_hash()}
    return out
