"""From a configuration to what training needs: data, losses, and the settings of the loop. It runs nothing."""

from collections.abc import Callable, Sequence
from typing import Any

from mvplm.build import build_collate, build_layout, build_style
from mvplm.config import Config, EvalSetConfig, SourceConfig
from mvplm.data.catalog import datasets_root, get_dataset
from mvplm.data.datasets.base import RecordSequence
from mvplm.data.leaks import held_out_pictures
from mvplm.data.mapper import SampleMapper, collect_phrases
from mvplm.data.mixing import MixSource, TaskMixture, TrainingMixture
from mvplm.data.unify import NameSampling, UnifySettings
from mvplm.data.views import pictures, prepared, remembered, without_pictures
from mvplm.data.windows import Shown
from mvplm.engine import OptimizerSettings, TrainerSettings, rank_and_world
from mvplm.evaluation import protocols
from mvplm.losses import Criterion, HungarianMatcher, LossWeights, MatchWeights
from mvplm.models.ops import sample_maps
from mvplm.prompts import PromptTokenizer, family_of
from mvplm.structures import Record


def build_criterion(config: Config) -> Criterion:
    """Matcher and losses."""
    match, loss = config.match, config.loss
    matcher = HungarianMatcher(
        MatchWeights(
            cls=match.class_cost, bce=match.bce_cost, dice=match.dice_cost, l1=match.box_cost, giou=match.giou_cost
        ),
        num_points=match.num_points,
        split=match.split,
        sentence_cost=match.sentence_cost,
        classifier=config.model.classifier.word,
        stuff_boxes=config.model.stuff.box_loss,
        sampler=sample_maps,
    )
    return Criterion(
        matcher=matcher,
        num_points=loss.num_points,
        oversample=loss.oversample,
        importance=loss.importance,
        no_object_weight=loss.no_object_weight,
        sentence_scale=loss.sentence_scale,
        stuff_box_loss=config.model.stuff.box_loss,
        classifier=config.model.classifier.word,
    )


def build_weights(config: Config) -> LossWeights:
    """Weights of the losses in the total."""
    loss = config.loss
    return LossWeights(
        word=loss.word,
        sentence=loss.sentence,
        mask_bce=loss.mask_bce,
        mask_dice=loss.mask_dice,
        box_l1=loss.box_l1,
        box_giou=loss.box_giou,
        lm=loss.language,
    )


def build_mapper(
    config: Config,
    tokenizer: PromptTokenizer,
    *,
    task: str,
    response: str | None = None,
    phrase_pool: Sequence[str] = (),
    shown: Shown | None = None,
) -> SampleMapper:
    """From records to training samples of a task; ``response`` overrides the configured kind of response."""
    return SampleMapper(
        tokenizer,
        image_size=config.image.size,
        num_image_tokens=config.num_image_tokens,
        task=task,
        training=True,
        settings=_unify_settings(config, response or config.response.kind),
        phrase_pool=phrase_pool,
        max_length=config.prompt.max_length,
        shown=shown,
        seed=config.train.seed,
    )


def build_mixture(config: Config, tokenizer: PromptTokenizer) -> TrainingMixture:
    """The mixture of a run of MVP-LM; see :func:`mixture_of`."""

    def mapper(source: SourceConfig, dataset: Sequence[Record]) -> SampleMapper:
        return build_mapper(
            config,
            tokenizer,
            task=source.task,
            response=source.response,
            phrase_pool=collect_phrases(dataset, limit=500) if source.task == "grounding" else (),
            shown=Shown(windows=source.windows, masks=source.masks),
        )

    return mixture_of(config, mapper, collate=build_collate(config, tokenizer))


def mixture_of(
    config: Config, mapper: Callable[[SourceConfig, Sequence[Record]], Any], *, collate: Any
) -> TrainingMixture:
    """All training sources with a ratio above 0; among several processes, the share of this one.

    Args:
        config: the run. mapper: makes what turns the records of a source into samples. collate: makes batches of those.
    """
    sources = []
    kept: dict[tuple[str, str, str], Sequence[Record]] = {}
    for name, dataset in training_records(config).items():
        source = config.data.sources[name]
        # Sources with the same records remember them together: they are drawn once.
        alike = (source.dataset, repr(sorted(source.options.items())), family_of(source.task))
        records = kept.setdefault(alike, remembered(dataset, config.data.remember))
        sources.append(
            MixSource(
                name,
                records,
                mapper(source, dataset),
                ratio=source.ratio,
                batch_size=source.batch_size,
                questions=source.questions,
            )
        )
    rank, world = rank_and_world()
    mixture = TaskMixture(
        sources, seed=config.train.seed, rank=rank, world=world, max_bad_share=config.data.max_bad_share
    )
    return TrainingMixture(mixture, collate)


def open_records(config: Config, entry: SourceConfig | EvalSetConfig) -> Sequence[Record]:
    """The dataset of a source or an evaluation set as the configuration asks about it."""
    protocol = protocols.get(config.eval.res_protocol)
    merged = protocol.expressions == "merged" and family_of(entry.task) == "sentence"
    dataset = get_dataset(entry.dataset, **entry.options)
    return prepared(dataset, synonyms=config.names.synonyms, merged=merged)


def training_records(config: Config) -> dict[str, Sequence[Record]]:
    """Datasets of the sources with a ratio above 0; pictures of referring evaluation sets are left out."""
    sources = {name: source for name, source in config.data.sources.items() if source.ratio}
    found = {name: open_records(config, source) for name, source in sources.items()}
    on_disk = any(isinstance(dataset, RecordSequence) for dataset in found.values())
    if not on_disk or not config.data.exclude_eval_images:
        return found
    referring = [entry for entry in config.eval.sets.values() if family_of(entry.task) == "sentence"]
    excluded = held_out_pictures(datasets_root())
    excluded.update(*(pictures(get_dataset(entry.dataset, **entry.options)) for entry in referring))
    for name, dataset in found.items():
        try:
            found[name] = without_pictures(dataset, excluded)
        except ValueError as error:
            raise ValueError(f"data.sources.{name}: {error}; see data.exclude_eval_images") from error
    return found


def _unify_settings(config: Config, response: str) -> UnifySettings:
    names = config.names
    return UnifySettings(
        names=NameSampling(
            full_limit=names.full_limit,
            full_probability=names.full_probability,
            sizes=(names.sizes[0], names.sizes[1]),
            phrase_negatives=(names.phrase_negatives[0], names.phrase_negatives[1]),
            shuffle=names.shuffle,
            max_tokens=names.max_tokens,
        ),
        response_kind=response,
        caption_dropout=config.response.caption_dropout,
        dedupe=config.prompt.dedupe,
        style=build_style(config),
        anonymous=config.model.dn.anonymous if config.model.dn.budget else 0.0,
        layout=build_layout(config),
    )


def build_trainer_settings(config: Config) -> TrainerSettings:
    """Settings of the training loop."""
    train = config.train
    return TrainerSettings(
        steps=train.steps,
        accumulation=train.grad_accumulation,
        clip_norm=config.optim.clip_norm,
        precision=train.precision,
        compile=train.compile,
        device=train.device,
        deterministic=train.deterministic,
        seed=train.seed,
        num_workers=config.data.num_workers,
        log_every=train.log_every or train.steps,
        nonfinite_limit=train.nonfinite_limit,
        max_seconds=train.time_limit,
    )


def build_optimizer_settings(config: Config) -> OptimizerSettings:
    """Settings of the optimiser and its schedule."""
    optim = config.optim
    scales = {"encoder.": optim.encoder_lr_scale} if config.model.encoder.train else {}
    scales |= optim.lr_scales
    return OptimizerSettings(
        kind=optim.kind,
        convolutions=optim.convolutions,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        betas=(optim.betas[0], optim.betas[1]),
        eps=optim.eps,
        lr_scales=scales,
        warmup_ratio=optim.warmup_ratio,
        schedule=optim.schedule,
        ema_decay=optim.ema_decay or None,
    )
