"""Whole runs of models that write masks as text: training and what evaluation loads. ``runs`` calls nothing else."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mvplm.build_training import build_optimizer_settings, build_trainer_settings, build_weights
from mvplm.config import Config
from mvplm.engine import (
    Hook,
    Trainer,
    TrainSummary,
    freeze,
    frozen_weights,
    load_trained,
    load_weights,
    open_checkpoint,
)
from mvplm.engine.weights import unique_state
from mvplm.pretrained import WEIGHTS_FILE, shipped_folder
from mvplm.runs import evaluate_perceiver, standard_hooks, start_run
from mvplm.text4seg.build import (
    MODEL_DIR,
    PROCESSOR_DIR,
    TextMaskSystem,
    build_cell_mixture,
    build_mask_mixture,
    build_text_mask,
    read_base,
    read_processor,
)
from mvplm.text4seg.files import is_text_directory, load_text_perceiver, placed
from mvplm.text4seg.perceiver import TextPerceiver
from mvplm.text4seg.teachers import TEACHERS, build_learner, load_teacher, save_teacher


def run_text_training(config: Config, *, resume: bool, overwrite: bool, hooks: tuple[Hook, ...]) -> TrainSummary:
    """Train a model that writes masks; see :func:`mvplm.runs.run_training`.

    The model of the last step lies in ``model`` of the output directory, ready for ``mvplm.load``.
    """
    out = Path(config.train.output)
    resume = start_run(config, resume=resume)
    system = build_text_mask(config)
    model = system.model
    if config.train.init_from and not resume:
        _start_from(Path(config.train.init_from), system, config=config)
    freeze(model, config.train.freeze)
    if config.train.gradient_checkpointing:
        model.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.model.enable_input_require_grads()

    def extras(folder: Path) -> None:
        system.processor.save_pretrained(str(folder / PROCESSOR_DIR))

    cells = config.text_mask.learns == "cells"
    learner = build_learner(system, config)
    before = Path(config.train.init_from).parent if config.train.init_from else None
    if before is not None and not resume:
        load_teacher(learner, before)
    trainer = Trainer(
        learner,
        _no_criterion,
        weights=build_weights(config),
        mixture=build_cell_mixture(config, system) if cells else build_mask_mixture(config, system),
        settings=replace(build_trainer_settings(config), trained_only=bool(_from_base(system, config))),
        optimizer=build_optimizer_settings(config),
        hooks=(
            *standard_hooks(config, evaluate=_evaluation(config, system), extras=extras, overwrite=overwrite),
            *hooks,
        ),
    )
    summary = trainer.train(resume_from=out / "checkpoints" if resume else None)
    if trainer.is_main and summary.step >= config.train.steps:
        with trainer.evaluation_model():
            TextPerceiver(system, config=config).save(out / "model")
            save_teacher(learner, out, before=before)
    return summary


def _start_from(start: Path, system: TextMaskSystem, *, config: Config) -> None:
    """Take the weights of a saved model that has all of them, of a directory with a file of weights, or of a file."""
    skip = config.train.init_skip
    if is_text_directory(start) and (start / MODEL_DIR).is_dir():
        # Some architectures are saved under older names, which only transformers knows.
        saved = unique_state(read_base(start))
        try:
            load_weights(system.model.model, saved, skip=skip)
        except ValueError as error:
            raise ValueError(f"{start / MODEL_DIR}: {error}") from error
        return
    path = start / WEIGHTS_FILE if start.is_dir() else start
    load_weights(system.model, path, allow_missing=_from_base(system, config), skip=skip)


def _from_base(system: TextMaskSystem, config: Config) -> list[str]:
    """Names of weights that stay those of the base beside adapters, so that checkpoints need not hold them."""
    return frozen_weights(system.model) if config.text_mask.base is not None and config.text_mask.lora.rank else []


def _no_criterion(output: Any, batch: Any) -> dict[str, Tensor]:
    raise AssertionError("models that write masks have one loss, that of their answers")


def _evaluation(config: Config, system: TextMaskSystem) -> Callable[[nn.Module], Mapping[str, float]]:
    def evaluate(_: nn.Module) -> Mapping[str, float]:
        return evaluate_perceiver(TextPerceiver(system, config=config), config)

    return evaluate


def load_text_for_evaluation(config: Config, weights: str | Path | None) -> TextPerceiver:
    """A perceiver from a run's newest checkpoint (averaged weights when there are any) or a model directory."""
    source = shipped_folder(weights or "") or Path(weights or config.train.output)
    if is_text_directory(source):
        perceiver = load_text_perceiver(source, device=config.train.device)
        perceiver.config.infer, perceiver.config.eval.res_protocol = config.infer, config.eval.res_protocol
        own, asked = perceiver.config.text_mask, config.text_mask
        own.max_new_tokens, own.constrained, own.refiner = asked.max_new_tokens, asked.constrained, asked.refiner
        return perceiver
    checkpoint = open_checkpoint(source)
    processor = read_processor(checkpoint.path / PROCESSOR_DIR)
    # With a base, the base's own processor tells which tokens are new; both end with the same ids.
    system = build_text_mask(config, processor=processor if config.text_mask.base is None else None)
    load_trained(system.model, checkpoint, allow_missing=_from_base(system, config), skip=TEACHERS)
    return placed(system, config, device=config.train.device, dtype="fp32")
