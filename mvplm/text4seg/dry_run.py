"""What training a model that writes masks will cost; its parameters have no memory meanwhile. See ``dry_run``."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch
from torch import nn

from mvplm.complexity import count_parameters
from mvplm.config import Config, SourceConfig
from mvplm.dry_run import DryRun, PartSize, SourceUse, samples_per_step, source_uses
from mvplm.engine import freeze
from mvplm.structures import Record
from mvplm.text4seg.build import TextMaskSystem, assemble, build_mask_mapper, build_text_mask, read_processor

_WORD, _MOMENTS, _LOOKED_AT = 4, 8, 8
_WORKSPACE = 1.5 * 2**30
_WIDTHS_PER_LAYER = 17
_RULE = (
    "activations are a rule of thumb, not counted: {widths} widths and 3 feed-forward widths per token and layer, kept "
    "for one layer alone with checkpointing, and the scores of all tokens of answers"
)


def estimate_text_run(config: Config, *, processes: int = 1) -> DryRun:
    """Estimate a run of a model that writes masks; arguments as for :func:`mvplm.dry_run.estimate`.

    Raises:
        ValueError: the base model's configuration and processor are not on this machine.
    """
    notes: list[str] = []
    system = _system(config)
    freeze(system.model, config.train.freeze)
    sources = source_uses(
        config,
        lambda source, dataset: _tokens(config, source, system=system, dataset=dataset),
        processes=processes,
        notes=notes,
    )
    parts = _parts(system.model)
    trained, ema = sum(part.trained for part in parts), bool(config.optim.ema_decay)
    alone = config.text_mask.base is not None and bool(config.text_mask.lora.rank)
    stored = trained if alone else sum(part.values for part in parts)
    notes.append(_RULE.format(widths=_WIDTHS_PER_LAYER))
    return DryRun(
        parts=parts,
        weights=float(sum(p.numel() * p.element_size() for p in system.model.parameters())),
        gradients=_WORD * trained,
        optimizer=_MOMENTS * trained,
        average=_WORD * trained * ema,
        half_copies=0.0,
        activations=_activations(config, system, sources=sources),
        workspace=_WORKSPACE,
        samples_per_step=round(samples_per_step(config, processes)),
        steps=config.train.steps,
        sources=sources,
        checkpoint=_WORD * stored * (1 + ema) + _MOMENTS * trained,
        checkpoints=config.train.keep_checkpoints + 1,
        notes=tuple(notes),
    )


def _system(config: Config) -> TextMaskSystem:
    base = config.text_mask.base
    if base is None:
        return build_text_mask(config)
    from transformers import AutoConfig, AutoModelForImageTextToText

    processor = read_processor(base)
    try:
        described = AutoConfig.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"text_mask.base: {base} has no configuration that can be read: {error}") from error
    kept = torch.bfloat16 if config.text_mask.dtype == "bf16" else torch.float32
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(described, dtype=kept)
        return assemble(model, processor, config=config)


def _parts(model: nn.Module) -> tuple[PartSize, ...]:
    """Vision, language model, and what is trained beside it."""
    groups: dict[str, list[int]] = {"vision": [0, 0], "language": [0, 0], "adapters": [0, 0]}
    for name, parameter in model.named_parameters():
        added = "lora_" in name or "trainable_tokens" in name
        group = groups["adapters" if added else "vision" if "vis" in name.lower() else "language"]
        group[0] += parameter.numel()
        group[1] += parameter.numel() * parameter.requires_grad
    assert sum(group[0] for group in groups.values()) == count_parameters(model), "every parameter has a group"
    return tuple(PartSize(name, *sizes) for name, sizes in groups.items() if sizes[0])


def _activations(config: Config, system: TextMaskSystem, *, sources: Sequence[SourceUse]) -> float:
    text = system.model.model.config.get_text_config(decoder=True)
    word = 2 if config.train.precision != "fp32" else 4
    measured = [source.tokens for source in sources if source.tokens is not None]
    used = [source for source in config.data.sources.values() if source.ratio]
    tokens = max(measured, default=config.text_mask.max_length) * max((s.batch_size for s in used), default=1)
    layer = _WIDTHS_PER_LAYER * text.hidden_size + 3 * text.intermediate_size
    layers = text.num_hidden_layers
    kept = layer + layers * text.hidden_size if config.train.gradient_checkpointing else layers * layer
    return float(tokens * (word * kept + 2 * _WORD * text.vocab_size))


def _tokens(config: Config, source: SourceConfig, *, system: TextMaskSystem, dataset: Sequence[Record]) -> float | None:
    """Mean length of a few samples spread over the dataset, pictures and answers included; None where none fits."""
    mapper = build_mask_mapper(config, system, task=source.task, form=source.form)
    collate = system.collate(config)
    stride = max(1, len(dataset) // _LOOKED_AT)
    lengths = []
    for place in range(0, len(dataset), stride)[:_LOOKED_AT]:
        try:
            made: list[Any] = mapper.several(dataset[place], index=place, count=source.questions)
        except (ValueError, FileNotFoundError):
            continue
        lengths.append(collate(made).inputs["input_ids"].shape[1])
    return fmean(lengths) if lengths else None
