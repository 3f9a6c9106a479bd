"""From a configuration to what trains a model that writes boxes and decodes their masks. It builds; it runs nothing."""

from dataclasses import replace

from mvplm.build_training import build_optimizer_settings, build_trainer_settings, mixture_of
from mvplm.config import Config
from mvplm.data.box_questions import BoxQuestionMaker
from mvplm.data.guided_boxes import BoxMix, read_written_boxes
from mvplm.data.guided_mapper import GuidedCollate, GuidedMapper
from mvplm.data.mixing import TrainingMixture
from mvplm.engine import OptimizerSettings, TrainerSettings
from mvplm.losses.guided import GuidedCriterion, GuidedWeights
from mvplm.models.qwen3vl_seg.capture import base_of
from mvplm.models.qwen3vl_seg.model import Qwen3VLSeg
from mvplm.prompts.box_masks import FORM_OF_TASK
from mvplm.qwen3vl_seg.build import BoxMaskSystem


def build_guided_criterion(config: Config) -> GuidedCriterion:
    """Losses of text, masks and overlaps."""
    loss = config.box_mask.loss
    return GuidedCriterion(crop=loss.crop_points, enlarge=loss.crop_enlarge)


def build_guided_weights(config: Config) -> GuidedWeights:
    """Their weights in the total."""
    loss = config.box_mask.loss
    return GuidedWeights(
        config.loss.language, seg=loss.seg, bce=loss.bce, dice=loss.dice, first=loss.first, iou=loss.iou
    )


def build_guided_mapper(config: Config, system: BoxMaskSystem, *, task: str, form: str | None = None) -> GuidedMapper:
    """From records to training samples of a task.

    Raises:
        ValueError: the file of written boxes cannot be read.
    """
    settings = config.box_mask
    true, jitter, predicted = settings.box_mix
    maker = BoxQuestionMaker(
        form or FORM_OF_TASK[task],
        most_names=settings.most_names,
        most_objects=settings.max_instances,
        negatives=settings.negatives,
    )
    return GuidedMapper(
        maker,
        system.tokenizer,
        task=task,
        boxes=BoxMix(true, jitter, predicted, amount=settings.jitter),
        written=None if settings.written_boxes is None else read_written_boxes(settings.written_boxes),
        most_masks=settings.most_masks,
        max_length=settings.max_length,
        seed=config.train.seed,
    )


def build_guided_mixture(config: Config, system: BoxMaskSystem) -> TrainingMixture:
    """The mixture of a run; see :func:`mvplm.build_training.mixture_of`."""
    return mixture_of(
        config,
        lambda source, _: build_guided_mapper(config, system, task=source.task, form=source.form),
        collate=GuidedCollate(system.collate(config)),
    )


def set_trained(model: Qwen3VLSeg, config: Config) -> None:
    """Freeze or thaw the vision tower (mergers included) as ``box_mask.vision_lr_scale`` says; None leaves it."""
    scale = config.box_mask.vision_lr_scale
    if scale is not None:
        base_of(model.base).model.visual.requires_grad_(scale > 0)


def guided_optimizer_settings(config: Config, model: Qwen3VLSeg) -> OptimizerSettings:
    """The optimiser of a model: the vision tower has a rate of its own, weights decay in the mask decoder alone."""
    settings = build_optimizer_settings(config)
    scales = dict(settings.lr_scales)
    if config.box_mask.vision_lr_scale:
        scales |= {vision_prefix(model): config.box_mask.vision_lr_scale}
    return replace(settings, lr_scales=scales, decay_only=("mask_decoder.",))


def vision_prefix(model: Qwen3VLSeg) -> str:
    """What the names of all parameters of the vision tower begin with, adapters or not."""
    tower = base_of(model.base).model.visual
    return next(name for name, part in model.named_modules() if part is tower) + "."


def guided_trainer_settings(config: Config) -> TrainerSettings:
    """Settings of the loop; weights that were never trained are left to the base model they came from."""
    return replace(build_trainer_settings(config), trained_only=config.box_mask.base is not None)
