"""What training a model that writes masks will cost. See ``writing_dry_run``."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from mvplm.config import Config
from mvplm.dry_run import DryRun
from mvplm.engine import freeze
from mvplm.structures.written import WrittenSample
from mvplm.text4seg.build import (
    TextMaskSystem,
    assemble,
    build_text_mask,
    read_processor,
    source_mapper,
    training_collate,
)
from mvplm.text4seg.teachers import build_learner
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
    build_learner(system, config)
    run = WritingRun(
        model=system.model,
        language=base.config.get_text_config(decoder=True),
        mapper=lambda source: source_mapper(config, system, source=source),
        inputs=_inputs(config, system),
        longest=settings.max_length,
        trained_only=settings.base is not None and bool(settings.lora.rank),
    )
    return estimate_writing_run(config, run, processes=processes)


def _inputs(config: Config, system: TextMaskSystem) -> Callable[[Sequence[WrittenSample]], dict[str, Any]]:
    """Arguments of the model for samples, as the run will read them."""
    if config.text_mask.learns == "cells":
        pictures = system.collate(config).pictures
        return lambda samples: pictures([sample.image for sample in samples])
    collate = training_collate(config, system)
    return lambda samples: collate(samples).inputs


def _system(config: Config) -> TextMaskSystem:
    settings = config.text_mask
    if settings.base is None:
        return build_text_mask(config)
    processor = read_processor(settings.base)
    with torch.device("meta"):
        model = described_base(settings.base, dtype=settings.dtype, key="text_mask.base")
        return assemble(model, processor, config=config)
