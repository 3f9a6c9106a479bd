"""What training a model that writes masks or boxes will cost; a base has no memory meanwhile. See ``dry_run``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import nn

from mvplm.complexity import count_parameters
from mvplm.config import Config, SourceConfig
from mvplm.dry_run import DryRun, PartSize, SourceUse, samples_per_step, source_uses
from mvplm.structures import Record

_WORD, _MOMENTS, _LOOKED_AT = 4, 8, 8
_WORKSPACE = 1.5 * 2**30
_WIDTHS_PER_LAYER = 17
_RULE = (
    "activations are a rule of thumb, not counted: {widths} widths and 3 feed-forward widths per token and layer, kept "
    "for one layer alone with checkpointing, and the scores of all tokens of answers"
)


@dataclass(frozen=True)
class WritingRun:
    """A run of one of the systems that write.

    Attributes:
        model: everything that learns, frozen where it does not; on the meta device where it has a base.
        language: the language model's part of the base model's configuration.
        mapper: makes samples of a source. inputs: arguments of the base model for some of them.
        longest: most ids of questions and answers. trained_only: checkpoints hold nothing else.
        kept_per_pixel: values kept for every pixel of a picture by what decodes masks. frames: so often does the
            processor repeat a picture (``temporal_patch_size``).
    """

    model: nn.Module
    language: Any
    mapper: Callable[[SourceConfig], Any]
    inputs: Callable[[Sequence[Any]], dict[str, Any]]
    longest: int
    trained_only: bool
    kept_per_pixel: float = 0.0
    frames: int = 1


@dataclass(frozen=True)
class _Sizes:
    """Mean ids and pixels of some samples."""

    tokens: float
    pixels: float


def estimate_writing_run(config: Config, run: WritingRun, *, processes: int = 1) -> DryRun:
    """Estimate a run; arguments otherwise as for :func:`mvplm.dry_run.estimate`."""
    notes: list[str] = []
    pixels: list[float] = []

    def tokens(source: SourceConfig, dataset: Sequence[Record]) -> float | None:
        sizes = _sizes(run, source, dataset=dataset)
        if sizes is None:
            return None
        pixels.append(sizes.pixels)
        return sizes.tokens

    sources = source_uses(config, tokens, processes=processes, notes=notes)
    parts = _parts(run.model)
    trained, ema = sum(part.trained for part in parts), bool(config.optim.ema_decay)
    stored = trained if run.trained_only else sum(part.values for part in parts)
    notes.append(_RULE.format(widths=_WIDTHS_PER_LAYER))
    return DryRun(
        parts=parts,
        weights=float(sum(p.numel() * p.element_size() for p in run.model.parameters())),
        gradients=_WORD * trained,
        optimizer=_MOMENTS * trained,
        average=_WORD * trained * ema,
        half_copies=0.0,
        activations=_activations(config, run, sources=sources, pixels=max(pixels, default=0.0)),
        workspace=_WORKSPACE,
        samples_per_step=round(samples_per_step(config, processes)),
        steps=config.train.steps,
        sources=sources,
        checkpoint=_WORD * stored * (1 + ema) + _MOMENTS * trained,
        checkpoints=config.train.keep_checkpoints + 1,
        notes=tuple(notes),
    )


def described_base(place: str, *, dtype: str, key: str) -> nn.Module:
    """A base model of ``AutoModelForImageTextToText`` without its weights; call it with the meta device chosen.

    Raises:
        ValueError: its configuration cannot be read; the message has the place and the ``key`` that named it.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    try:
        described = AutoConfig.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {place} has no configuration that can be read: {error}") from error
    kept = torch.bfloat16 if dtype == "bf16" else torch.float32
    model: nn.Module = AutoModelForImageTextToText.from_config(described, dtype=kept)
    return model


def _parts(model: nn.Module) -> tuple[PartSize, ...]:
    """Vision, language model, and what is trained beside them."""
    groups: dict[str, list[int]] = {"vision": [0, 0], "language": [0, 0], "adapters": [0, 0], "mask decoder": [0, 0]}
    for name, parameter in model.named_parameters():
        group = groups[_part_of(name)]
        group[0] += parameter.numel()
        group[1] += parameter.numel() * parameter.requires_grad
    assert sum(group[0] for group in groups.values()) == count_parameters(model), "every parameter has a group"
    return tuple(PartSize(name, *sizes) for name, sizes in groups.items() if sizes[0])


def _part_of(name: str) -> str:
    if name.startswith("mask_decoder."):
        return "mask decoder"
    if "lora_" in name or "trainable_tokens" in name:
        return "adapters"
    return "vision" if "vis" in name.lower() else "language"


def _activations(config: Config, run: WritingRun, *, sources: Sequence[SourceUse], pixels: float) -> float:
    text, word = run.language, 2 if config.train.precision != "fp32" else 4
    measured = [source.tokens for source in sources if source.tokens is not None]
    used = [source for source in config.data.sources.values() if source.ratio]
    samples = max((source.batch_size for source in used), default=1)
    layer = _WIDTHS_PER_LAYER * text.hidden_size + 3 * text.intermediate_size
    layers = text.num_hidden_layers
    kept = layer + layers * text.hidden_size if config.train.gradient_checkpointing else layers * layer
    per_sample = max(measured, default=run.longest) * (word * kept + 2 * _WORD * text.vocab_size)
    return float(samples * (per_sample + word * run.kept_per_pixel * pixels))


def _sizes(run: WritingRun, source: SourceConfig, *, dataset: Sequence[Record]) -> _Sizes | None:
    """Means over a few samples spread over the dataset, pictures and answers included; None where none fits."""
    mapper = run.mapper(source)
    stride = max(1, len(dataset) // _LOOKED_AT)
    tokens, pixels = [], []
    for place in range(0, len(dataset), stride)[:_LOOKED_AT]:
        try:
            made = mapper.several(dataset[place], index=place, count=source.questions)
        except (ValueError, FileNotFoundError):
            continue
        inputs = run.inputs(made)
        tokens.append(inputs["input_ids"].shape[1])
        # Three values for each pixel of the resized picture, however the processor lays them out.
        pixels.append(inputs["pixel_values"].numel() / (3 * run.frames))
    return _Sizes(fmean(tokens), fmean(pixels)) if tokens else None
