"""Whole runs of models that write boxes and decode their masks. ``runs`` calls nothing else."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from mvplm.config import Config
from mvplm.engine import Hook, Trainer, TrainSummary, freeze, load_weights
from mvplm.pretrained import WEIGHTS_FILE
from mvplm.qwen3vl_seg.build import build_box_mask
from mvplm.qwen3vl_seg.build_training import (
    build_guided_criterion,
    build_guided_mixture,
    build_guided_weights,
    guided_optimizer_settings,
    guided_trainer_settings,
    set_trained,
)
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver
from mvplm.runs import evaluate_perceiver, standard_hooks, start_run
from mvplm.text4seg.build import PROCESSOR_DIR

ADAPTER_FILE = "adapter_config.json"
MERGE = "merge them with tools/merge_box_mask.py, and name the result as box_mask.base"


def run_box_training(config: Config, *, resume: bool, overwrite: bool, hooks: tuple[Hook, ...]) -> TrainSummary:
    """Train a model that writes boxes and decodes their masks; see :func:`mvplm.runs.run_training`.

    The model of the last step lies in ``model`` of the output directory, ready for ``mvplm.load``.

    Raises:
        ValueError: as there, or the start holds adapters that were not merged.
    """
    out = Path(config.train.output)
    resume = start_run(config, resume=resume)
    _check_merged(config)
    system = build_box_mask(config)
    model = system.model
    if config.train.init_from and not resume:
        load_start(model, config)
    set_trained(model, config)
    freeze(model, config.train.freeze)
    if config.train.gradient_checkpointing:
        model.base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.base.enable_input_require_grads()

    def extras(folder: Path) -> None:
        system.processor.save_pretrained(str(folder / PROCESSOR_DIR))

    def evaluate(_: nn.Module) -> Mapping[str, float]:
        return evaluate_perceiver(BoxPerceiver(system, config=config), config)

    trainer = Trainer(
        model,
        build_guided_criterion(config),
        weights=build_guided_weights(config),
        mixture=build_guided_mixture(config, system),
        settings=guided_trainer_settings(config),
        optimizer=guided_optimizer_settings(config, model),
        hooks=(
            *standard_hooks(config, evaluate=evaluate, extras=extras, overwrite=overwrite),
            *hooks,
        ),
    )
    summary = trainer.train(resume_from=out / "checkpoints" if resume else None)
    if trainer.is_main and summary.step >= config.train.steps:
        with trainer.evaluation_model():
            BoxPerceiver(system, config=config).save(out / "model")
    return summary


def _check_merged(config: Config) -> None:
    """Refuse a base model that is one with adapters: loading would put them on top without a word."""
    base = config.box_mask.base
    if base is not None and (Path(base) / ADAPTER_FILE).is_file():
        raise ValueError(f"box_mask.base {base} holds adapters that were not merged: {MERGE}")


def load_start(model: nn.Module, config: Config) -> None:
    """Weights of ``train.init_from``: a checkpoint, or a file.

    Raises:
        ValueError: weights that do not fit, or adapters that were not merged into the base model.
    """
    start = Path(str(config.train.init_from))
    file = start / WEIGHTS_FILE if start.is_dir() else start
    if not config.box_mask.lora.rank and _has_adapters(file):
        raise ValueError(f"{file} holds adapters that were not merged: {MERGE}")
    load_weights(model, file, allow_missing=config.train.init_allow, skip=config.train.init_skip)


def _has_adapters(file: Path) -> bool:
    from safetensors import safe_open

    with safe_open(str(file), framework="pt") as opened:
        return any(".lora_" in name for name in opened.keys())  # noqa: SIM118
