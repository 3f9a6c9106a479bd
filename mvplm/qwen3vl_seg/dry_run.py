"""What training a model that writes boxes and decodes their masks will cost. See ``writing_dry_run``."""

import torch

from mvplm.config import Config
from mvplm.config.qwen3vl_seg import BoxDecoderConfig
from mvplm.dry_run import DryRun
from mvplm.engine import freeze
from mvplm.models.qwen3vl_seg.capture import base_of
from mvplm.qwen3vl_seg.build import BoxMaskSystem, assemble_box_mask, build_box_mask
from mvplm.qwen3vl_seg.build_training import build_guided_mapper, set_trained
from mvplm.text4seg.build import read_processor
from mvplm.writing_dry_run import WritingRun, described_base, estimate_writing_run

_MAPS_PER_CONVOLUTION, _WIDTHS_PER_CELL, _STRIDE = 3, 12, 8


def estimate_box_run(config: Config, *, processes: int = 1) -> DryRun:
    """Estimate a run of a model that writes boxes; arguments as for :func:`mvplm.dry_run.estimate`.

    Raises:
        ValueError: the base model's configuration and processor are not on this machine.
    """
    settings = config.box_mask
    system = _system(config)
    set_trained(system.model, config)
    freeze(system.model, config.train.freeze)
    base, collate = base_of(system.model.base).config, system.collate(config)
    run = WritingRun(
        model=system.model,
        language=base.text_config,
        mapper=lambda source: build_guided_mapper(config, system, task=source.task, form=source.form),
        inputs=lambda samples: collate(samples).inputs,
        longest=settings.max_length,
        trained_only=settings.base is not None,
        kept_per_pixel=_kept_per_pixel(settings.decoder),
        frames=base.vision_config.temporal_patch_size,
    )
    return estimate_writing_run(config, run, processes=processes)


def _kept_per_pixel(decoder: BoxDecoderConfig) -> float:
    """A rule of thumb: every convolution keeps some maps of its output, the fusion some widths per cell at stride 8."""
    stem = sum(channels / 4 ** (place + 1) for place, channels in enumerate(decoder.stem_channels))
    fusion = _WIDTHS_PER_CELL * decoder.width / _STRIDE**2
    return fusion + _MAPS_PER_CONVOLUTION * stem * decoder.image_branch


def _system(config: Config) -> BoxMaskSystem:
    settings = config.box_mask
    if settings.base is None:
        return build_box_mask(config)
    processor = read_processor(settings.base)
    with torch.device("meta"):
        model = described_base(settings.base, dtype=settings.dtype, key="box_mask.base")
        return assemble_box_mask(model, processor, config=config)
