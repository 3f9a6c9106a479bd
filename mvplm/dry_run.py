"""What a training run will cost, told before anything long starts: memory, data, steps and disk. Nothing is trained."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from mvplm.activation_memory import StepShape, count_activations
from mvplm.build import build_model, build_tokenizer
from mvplm.build_training import build_criterion, build_mapper, open_records
from mvplm.complexity import count_parameters
from mvplm.config import Config, SourceConfig, load_config
from mvplm.engine import freeze, parameters_on_meta
from mvplm.models.mvplm import MVPLM
from mvplm.prompts import PromptTokenizer
from mvplm.structures import Record

GPU_GIB = 24.0
_LOOKED_AT = 16
_WORD, _MOMENTS = 4, 8
_WORKSPACE = 1.5 * 2**30
_TASK_TOKENS, _RESPONSE = 384, 64
_OBJECTS = 10


@dataclass(frozen=True)
class PartSize:
    """Values in the parameters of a part of the network, and how many of them are trained."""

    name: str
    values: int
    trained: int


@dataclass(frozen=True)
class SourceUse:
    """What a run draws from a source.

    Attributes:
        name, task: of the source. share: of all micro-batches.
        samples: drawn in the whole run, over all processes.
        records: in the dataset; None when unknown. nominal: the number is the published one, not counted on disk.
        tokens: mean length of a prompt over a few records; None where data or tokenizer are not there.
    """

    name: str
    task: str
    share: float
    samples: float
    records: int | None
    nominal: bool
    tokens: float | None

    @property
    def epochs(self) -> float | None:
        """Passes over the dataset."""
        return None if self.records is None else self.samples / self.records


@dataclass(frozen=True)
class DryRun:
    """The whole estimate; sizes in bytes, for one process that holds all weights.

    Attributes:
        parts: of the network.
        weights, gradients, optimizer, average, half_copies, activations, workspace: memory of a step; ``half_copies``
            are those of the trained weights that autocast makes; ``workspace`` is an allowance.
        samples_per_step, steps: of the run, over all processes.
        sources: what is drawn. checkpoint: one on disk. checkpoints: how many lie there at once.
        notes: what could not be looked up, and what was assumed.
    """

    parts: tuple[PartSize, ...]
    weights: float
    gradients: float
    optimizer: float
    average: float
    half_copies: float
    activations: float
    workspace: float
    samples_per_step: int
    steps: int
    sources: tuple[SourceUse, ...]
    checkpoint: float
    checkpoints: int
    notes: tuple[str, ...]

    @property
    def memory(self) -> float:
        """Bytes of a step."""
        parts = (self.weights, self.gradients, self.optimizer, self.average)
        return sum(parts) + self.half_copies + self.activations + self.workspace

    def fits(self, gib: float = GPU_GIB) -> bool:
        """Whether a GPU of so many GiB has room for a step."""
        return self.memory <= gib * 2**30


def estimate(config: Config, *, processes: int = 1) -> DryRun:
    """Estimate a run.

    Args:
        config: the run.
        processes: how many will train together.

    Raises:
        ValueError: a model that writes masks or boxes whose base is not on this machine.
    """
    if config.system == "qwen3vl_seg":
        from mvplm.qwen3vl_seg.dry_run import estimate_box_run

        return estimate_box_run(config, processes=processes)
    if config.system == "text4seg":
        from mvplm.text4seg.dry_run import estimate_text_run

        return estimate_text_run(config, processes=processes)
    notes: list[str] = []
    tokenizer = _tokenizer(config, notes)
    sources = source_uses(
        config,
        lambda source, dataset: tokenizer and _tokens(config, source, tokenizer=tokenizer, dataset=dataset),
        processes=processes,
        notes=notes,
    )
    model = _trained_model(config, tokenizer or build_tokenizer(load_config()))
    sizes = _sizes(model)
    trained = sum(part.trained for part in sizes.parts)
    train, ema = config.train, bool(config.optim.ema_decay)
    casts = train.precision != "fp32" and train.gradient_checkpointing
    shape = _shape(config, sources, notes=notes)
    activations = count_activations(
        model, build_criterion(config), shape=shape, checkpointed=train.gradient_checkpointing
    )
    used = [source for source in config.data.sources.values() if source.ratio]
    return DryRun(
        parts=sizes.parts,
        weights=_WORD * sizes.saved,
        gradients=_WORD * trained,
        optimizer=_MOMENTS * trained,
        average=_WORD * trained * ema,
        half_copies=_WORD / 2 * trained * casts,
        activations=activations.of(max((source.batch_size * source.questions for source in used), default=1)),
        workspace=_WORKSPACE,
        samples_per_step=round(samples_per_step(config, processes)),
        steps=train.steps,
        sources=sources,
        checkpoint=_WORD * sizes.saved * (1 + ema) + _MOMENTS * trained,
        checkpoints=train.keep_checkpoints + 1,
        notes=tuple(notes),
    )


def format_estimate(run: DryRun, *, gib: float = GPU_GIB) -> str:
    """The estimate as text, for a GPU of so many GiB."""
    total = sum(part.values for part in run.parts)
    trained = sum(part.trained for part in run.parts)
    lines = ["parameters"]
    lines += [f"  {part.name:<14}{part.values:>15,}   trained {part.trained:>15,}" for part in run.parts]
    lines += [f"  {'all':<14}{total:>15,}   trained {trained:>15,}", "memory of one process that holds all weights"]
    for name in ("weights", "gradients", "optimizer", "average", "half_copies", "activations", "workspace"):
        lines.append(f"  {name.replace('_', ' '):<14}{_gib(getattr(run, name)):>12}")
    verdict = "fits" if run.fits(gib) else "does not fit"
    lines.append(f"  {'all':<14}{_gib(run.memory):>12}   {verdict} a GPU of {gib:g} GiB")
    lines.append(f"steps {run.steps:,} of {run.samples_per_step:,} samples")
    for source in run.sources:
        tokens = "tokens not measured" if source.tokens is None else f"{source.tokens:.0f} tokens per sample"
        epochs = "epochs unknown" if source.epochs is None else f"{source.epochs:.2f} epochs of {source.records:,}"
        published = " (published number)" if source.nominal else ""
        lines.append(
            f"  {source.name:<14}{100 * source.share:5.1f} %  {source.samples:>12,.0f} samples  {epochs}{published}"
            f"  {tokens}"
        )
    lines.append(f"disk {_gib(run.checkpoint)} per checkpoint, {_gib(run.checkpoint * run.checkpoints)} at most")
    return "\n".join([*lines, *(f"note: {note}" for note in run.notes)])


@dataclass(frozen=True)
class _Sizes:
    parts: tuple[PartSize, ...]
    saved: int


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _tokenizer(config: Config, notes: list[str]) -> PromptTokenizer | None:
    try:
        return build_tokenizer(config)
    except (OSError, ValueError):
        notes.append(f"tokenizer {config.model.llm.tokenizer} is not on this machine: prompt lengths are assumed")
        return None


def _trained_model(config: Config, tokenizer: PromptTokenizer) -> MVPLM:
    """The network with what is trained marked, its parameters without memory."""
    with parameters_on_meta():
        model = build_model(config, tokenizer)
    freeze(model, config.train.freeze)
    return model


def _sizes(model: MVPLM) -> _Sizes:
    parts = [
        PartSize(name, count_parameters(part), count_parameters(part, trained=True))
        for name, part in model.named_children()
    ]
    return _Sizes(tuple(parts), sum(value.numel() for value in model.state_dict().values()))


def _shape(config: Config, sources: Sequence[SourceUse], *, notes: list[str]) -> StepShape:
    """The samples whose activations are counted: the longest prompts that were seen, else an allowance."""
    measured = [source.tokens for source in sources if source.tokens is not None]
    tokens = round(max(measured)) if measured else config.num_image_tokens + _TASK_TOKENS + _RESPONSE
    captions = all(source.task == "caption" for source in sources)
    if not captions:
        notes.append(f"activations are those of {_OBJECTS} objects with masks per picture and padded pictures")
    return StepShape(
        size=config.image.size,
        tokens=min(tokens, config.prompt.max_length),
        response=_RESPONSE,
        objects=_OBJECTS,
        precision=config.train.precision,
        captions_only=captions,
    )


def samples_per_step(config: Config, processes: int) -> float:
    """Samples of a step: mean over the mixture, all processes together."""
    used = [source for source in config.data.sources.values() if source.ratio]
    per_micro_batch = sum(source.ratio * source.batch_size for source in used) / sum(source.ratio for source in used)
    return per_micro_batch * config.train.grad_accumulation * processes


def source_uses(
    config: Config,
    tokens: Callable[[SourceConfig, Sequence[Record]], float | None],
    *,
    processes: int,
    notes: list[str],
) -> tuple[SourceUse, ...]:
    """What every source with a ratio above 0 gives to a run.

    Args:
        config: the run. tokens: mean length of the samples of a source. processes: how many train together.
        notes: takes what cannot be opened here.
    """
    used = {name: source for name, source in config.data.sources.items() if source.ratio}
    total = sum(source.ratio for source in used.values())
    micro_batches = config.train.steps * config.train.grad_accumulation * processes
    found = []
    for name, source in used.items():
        dataset = _opened(config, source, notes=notes)
        share = source.ratio / total
        found.append(
            SourceUse(
                name=name,
                task=source.form or source.task,
                share=share,
                samples=share * micro_batches * source.batch_size,
                records=source.nominal_records if dataset is None else len(dataset),
                nominal=dataset is None and source.nominal_records is not None,
                tokens=None if dataset is None else tokens(source, dataset),
            )
        )
    return tuple(found)


def _opened(config: Config, source: SourceConfig, *, notes: list[str]) -> Sequence[Record] | None:
    """The records of a source; None, and a note, where they are not on this machine."""
    try:
        return open_records(config, source)
    except (OSError, ValueError) as error:
        notes.append(f"{source.dataset} cannot be opened here ({str(error).splitlines()[0]})")
        return None


def _tokens(config: Config, source: SourceConfig, *, tokenizer: PromptTokenizer, dataset: Sequence[Record]) -> float:
    """Mean length of the prompts of a few records spread over the dataset."""
    mapper = build_mapper(config, tokenizer, task=source.task, response=source.response)
    stride = max(1, len(dataset) // _LOOKED_AT)
    places = range(0, len(dataset), stride)[:_LOOKED_AT]
    return fmean(len(mapper(dataset[place], index=place).prompt) for place in places)
