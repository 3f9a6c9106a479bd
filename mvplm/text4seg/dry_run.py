"""What training a model that writes masks will cost. See ``writing_dry_run``."""

from typing import Any

import torch

from mvplm.config import Config
from mvplm.dry_run import DryRun
from mvplm.engine import freeze
from mvplm.text4seg.build import TextMaskSystem, assemble, build_mask_mapper, build_text_mask, read_processor
from mvplm.writing_dry_run import WritingRun, described_base, estimate_writing_run


def estimate_text_run(config: Config, *, processes: int = 1) -> DryRun:
    """Estimate a run of a model that writes masks; arguments as for :func:`mvplm.dry_run.estimate`.

    Raises:
        ValueError: the base model's configuration and processor are not on this machine.
    """
    settings = config.text_mask
    system = _system(config)
    base: Any = system.model.model
    freeze(system.model, config.train.freeze)
    run = WritingRun(
        model=system.model,
        language=base.config.get_text_config(decoder=True),
        mapper=lambda source: build_mask_mapper(config, system, task=source.task, form=source.form),
        collate=system.collate(config),  # type: ignore[arg-type] # samples in training have answers
        longest=settings.max_length,
        trained_only=settings.base is not None and bool(settings.lora.rank),
    )
    return estimate_writing_run(config, run, processes=processes)


def _system(config: Config) -> TextMaskSystem:
    settings = config.text_mask
    if settings.base is None:
        return build_text_mask(config)
    processor = read_processor(settings.base)
    with torch.device("meta"):
        model = described_base(settings.base, dtype=settings.dtype, key="text_mask.base")
        return assemble(model, processor, config=config)
