"""Whole runs: training and evaluation from a configuration. The command line and ``tools/`` call nothing else."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
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
)
from mvplm.config import Config, to_yaml
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
    chosen_device,
    freeze,
    is_run,
    join_processes,
    load_trained,
    load_weights,
    open_checkpoint,
    rank_and_world,
    seed_everything,
    started_again,
)
from mvplm.evaluation import print_metrics, write_metrics, write_tables
from mvplm.fingerprint import check_fingerprint
from mvplm.initial import load_initial_weights
from mvplm.measuring.details import Details
from mvplm.measuring.sets import PREDICTIONS, data_of, evaluate_sets, joined_metrics, protocol_of
from mvplm.perceiver import Perceiver
from mvplm.pretrained import CONFIG_FILE, TOKENIZER_DIR, load_perceiver, starting_weights
from mvplm.prompts import PromptTokenizer

_LOGGER = logging.getLogger("mvplm")


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
        from mvplm.text4seg.runs import run_text_training

        return run_text_training(config, resume=resume, overwrite=overwrite, hooks=hooks)
    if config.system == "qwen3vl_seg":
        from mvplm.qwen3vl_seg.runs import run_box_training

        return run_box_training(config, resume=resume, overwrite=overwrite, hooks=hooks)
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
    perceiver: Perceiver | None = None,
    save_predictions: bool = True,
    intervals: bool = True,
) -> dict[str, float]:
    """Evaluate every set of ``config.eval`` and write ``metrics.json`` and ``tables.json`` into ``out``.

    Args:
        config: what to evaluate, and the model unless ``weights`` names a model directory.
        weights: a run's directory (its newest checkpoint, averaged weights when there are any), a checkpoint, a model
            directory or a shipped name; None takes the run in ``config.train.output``.
        limit: only so many records of each set; 0 takes what the configuration says.
        out: directory for both.
        show: print the table.
        pictures: so many answers of each set are drawn in ``report.html``; 0 draws none.
        perceiver: the model of ``weights`` where it is loaded already; it is given the settings of ``config``.
        save_predictions: write what was scored below ``out/predictions``, as it comes.
        intervals: also give 95 % confidence intervals.

    With several processes each takes its share of the records, all return the same metrics, and the first writes.
    """
    join_processes(config.train.device)
    perceiver = load_for_evaluation(config, weights) if perceiver is None else adopt_settings(perceiver, config)
    started = time.perf_counter()
    folder = Path(out) / PREDICTIONS if save_predictions else None
    details = Details({} if intervals else None)
    found = evaluate_sets(perceiver, config, limit=limit, predictions=folder, details=details)
    metrics = joined_metrics(found)
    if rank_and_world()[0]:
        return metrics
    protocol = {
        "weights": str(weights or config.train.output),
        **protocol_of(perceiver.config, config, found=found),
        "seconds": round(time.perf_counter() - started, 1),
        "threads": torch.get_num_threads(),
    }
    write_tables(Path(out) / "tables.json", details.tables)
    data = data_of(config, found=found, out=out)
    write_metrics(Path(out) / "metrics.json", metrics, intervals=details.intervals, protocol=protocol, data=data)
    if pictures:
        from mvplm.pictures import write_report

        write_report(perceiver, config, metrics=metrics, out=out, count=pictures)
    if show:
        print_metrics(metrics, details.intervals)
    return metrics


def load_for_evaluation(config: Config, weights: str | Path | None) -> Any:
    """A perceiver from a run's checkpoint, a model directory or a shipped name, with the settings of ``config``.

    The network of a checkpoint is that of ``config`` (see ``evaluation_config``).
    """
    if config.system == "text4seg":
        from mvplm.text4seg.runs import load_text_for_evaluation

        return load_text_for_evaluation(config, weights)
    if config.system == "qwen3vl_seg":
        from mvplm.qwen3vl_seg.loading import load_box_for_evaluation

        return load_box_for_evaluation(config, weights)
    source = Path(weights or config.train.output)
    if is_run(source):
        checkpoint = open_checkpoint(source)
        tokenizer = PromptTokenizer.from_pretrained(checkpoint.path / TOKENIZER_DIR)
        model = build_model(config, tokenizer)
        load_trained(model, checkpoint)
        place = chosen_device(config.train.device)
        return Perceiver(model.to(place), tokenizer, config=config, settings=build_postprocess(config))
    perceiver = load_perceiver(weights or config.train.output)
    return adopt_settings(perceiver, config)


def adopt_settings(perceiver: Perceiver, config: Config) -> Perceiver:
    """The same perceiver, with what an evaluation says of thresholds, mode, counting and synonyms."""
    names = replace(perceiver.config.names, synonyms=config.names.synonyms, synonym_file=config.names.synonym_file)
    counting = replace(perceiver.config.eval, res_protocol=config.eval.res_protocol)
    perceiver.settings = build_postprocess(config)
    perceiver.config = replace(perceiver.config, infer=config.infer, post=config.post, names=names, eval=counting)
    return perceiver


def evaluate_perceiver(perceiver: Any, config: Config, *, limit: int = 0) -> dict[str, float]:
    """Metrics of every set of ``config.eval``, names as in the metrics file."""
    return joined_metrics(evaluate_sets(perceiver, config, limit=limit))
