"""From a configuration to objects: the only place that sees both. It builds; it does not run anything."""

import json
from collections.abc import Sequence
from typing import Any

from torch import nn

from mvplm.config import Config, load_config
from mvplm.config.base import near
from mvplm.config.presets import PRESETS
from mvplm.data.catalog import get_dataset
from mvplm.data.collate import collate
from mvplm.data.mapper import SampleMapper
from mvplm.data.mixing import MixSource, TaskMixture
from mvplm.data.unify import NameSampling, UnifySettings
from mvplm.engine import OptimizerSettings, TrainerSettings
from mvplm.losses import Criterion, HungarianMatcher, LossWeights, MatchWeights
from mvplm.models.connector import Connector
from mvplm.models.decoder import Decoder
from mvplm.models.denoising import DenoisingSettings
from mvplm.models.generation import ResponseTokens
from mvplm.models.heads import Heads
from mvplm.models.language import LanguageModel
from mvplm.models.mvplm import MVPLM, Parts
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.queries import QueryGenerator, StuffQueries
from mvplm.models.selection import Selector
from mvplm.models.text import TextEmbedder
from mvplm.models.vision import SwinEncoder, TimmEncoder
from mvplm.postprocess import PostprocessSettings
from mvplm.prompts import PromptTokenizer, train_scenes_tokenizer
from mvplm.prompts.templates import RESULT_TEXT
from mvplm.structures import Record


def list_models() -> list[str]:
    """Names that :func:`create_model` builds with random weights; those with shipped weights are in MODEL_ZOO."""
    return sorted(PRESETS)


def create_model(name: str, *, tokenizer: PromptTokenizer | None = None, **overrides: Any) -> MVPLM:
    """A named architecture with random weights.

    Args:
        name: see :func:`list_models`.
        tokenizer: tokenizer to size and frame the language model with; the preset's own when None.
        overrides: dotted configuration keys with ``__`` for dots, e.g. ``model__query__fusion="visual_only"``.

    Raises:
        ValueError: unknown name (with near matches) or bad overrides.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown model {name!r}{near(name, list(PRESETS))}; choose one of {', '.join(list_models())}")
    items = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in overrides.items()]
    config = load_config(None, [f"model.preset={name}", *items])
    return build_model(config, tokenizer or build_tokenizer(config))


def build_tokenizer(config: Config) -> PromptTokenizer:
    """The tokenizer of a configuration; "scenes" is learned from the embedded dataset's texts in about a second."""
    llm = config.model.llm
    if llm.tokenizer == "scenes":
        from mvplm.data.scenes import scene_texts

        return train_scenes_tokenizer(scene_texts(), vocab_size=llm.vocab_size)
    return PromptTokenizer.from_pretrained(llm.tokenizer)


def build_model(config: Config, tokenizer: PromptTokenizer) -> MVPLM:
    """The network of a configuration, on the current default device, with random weights (or those its parts name)."""
    model = config.model
    encoder = _encoder(config)
    llm = _language_model(config, tokenizer)
    pixel, decoder = model.pixel_decoder, model.decoder
    width = pixel.width
    parts = Parts(
        encoder=encoder,
        connector=Connector(
            encoder.channels[32],
            llm.width,
            width=model.connector.width,
            stride=model.connector.stride,
            norm=model.connector.norm,
            conv2_repeats=model.connector.conv2_repeats,
        ),
        llm=llm,
        text=TextEmbedder(
            llm.width, width, projection=model.text.proj, no_object=model.classifier.word == "softmax_ce"
        ),
        pixel_decoder=PixelDecoder(
            encoder.channels,
            width=width,
            mask_width=pixel.mask_width,
            layers=pixel.layers,
            heads=pixel.heads,
            points=pixel.points,
            ffn=pixel.ffn,
            mask_padding=decoder.mask_padding,
        ),
        selector=None
        if model.query.fusion == "base_only"
        else Selector(width, num=model.query.num, score=model.select.score, kinds=model.select.kinds),
        query=QueryGenerator(
            llm.width, width, num=model.query.num, expand=model.query.expand, fusion=model.query.fusion
        ),
        stuff=StuffQueries(width, num=model.stuff.num, detach=model.stuff.detach) if model.stuff.num else None,
        decoder=Decoder(
            width,
            layers=decoder.layers,
            heads=decoder.heads,
            points=decoder.points,
            ffn=decoder.ffn,
            levels=pixel.levels,
            loop_box_input=decoder.loop_box_input,
            level_order=decoder.level_order,
            double_norm=decoder.double_norm,
        ),
        heads=Heads(
            width, mask_width=pixel.mask_width, text_width=width, focal=model.classifier.word == "sigmoid_focal"
        ),
    )
    return MVPLM(
        parts,
        tokens=ResponseTokens(
            summary=tokenizer.summary_id, end=tokenizer.end_id, tail=tuple(tokenizer.encode(RESULT_TEXT))
        ),
        denoising=_denoising(config),
        anchor_scale=decoder.anchor_scale,
    )


def _encoder(config: Config) -> Any:
    encoder = config.model.encoder
    options = dict(encoder.kwargs)
    if encoder.kind == "swin":
        return SwinEncoder(**options, drop_path=encoder.train_droppath, frozen=not encoder.train)
    return TimmEncoder(encoder.name, frozen=not encoder.train, **options)


def _language_model(config: Config, tokenizer: PromptTokenizer) -> LanguageModel:
    llm = config.model.llm
    if llm.kind == "auto":
        from transformers import AutoModelForCausalLM

        causal = AutoModelForCausalLM.from_pretrained(llm.path, local_files_only=True, attn_implementation=llm.attention)
        language = LanguageModel(causal, num_tokens=tokenizer.vocab_size)
    else:
        language = LanguageModel.from_phi(
            num_tokens=tokenizer.vocab_size,
            attention=llm.attention,
            vocab_size=llm.embedding_rows or tokenizer.vocab_size,
            hidden_size=llm.hidden_size,
            num_hidden_layers=llm.layers,
            num_attention_heads=llm.heads,
            intermediate_size=llm.ffn,
            max_position_embeddings=llm.context,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": llm.rope_theta,
                "partial_rotary_factor": llm.rope_fraction,
            },
        )
    language.requires_grad_(llm.train)
    return language


def _denoising(config: Config) -> DenoisingSettings | None:
    dn = config.model.dn
    if not dn.budget:
        return None
    return DenoisingSettings(budget=dn.budget, box_noise=dn.box_noise, label_noise=dn.label_noise, overflow=dn.overflow)


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


class TrainingMixture:
    """The mixture of a configuration together with how its samples become batches."""

    def __init__(self, mixture: TaskMixture, *, config: Config, pad_id: int) -> None:
        self.mixture = mixture
        self._image = config.image
        self._tokens = config.num_image_tokens
        self._pad_id = pad_id

    def batches(self, start_step: int, *, num_workers: int = 0) -> Any:
        """Yield (micro-step, batch) from ``start_step`` on."""
        return self.mixture.batches(start_step, collate=self.collate, num_workers=num_workers)

    def collate(self, samples: Sequence[Any]) -> Any:
        """A batch of samples."""
        return collate(
            samples,
            pad_id=self._pad_id,
            num_image_tokens=self._tokens,
            image_size=self._image.size,
            mean=self._image.mean,
            std=self._image.std,
        )

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready position of the mixture."""
        return dict(self.mixture.state_dict())


def build_mixture(config: Config, tokenizer: PromptTokenizer) -> TrainingMixture:
    """All training sources with a ratio above 0."""
    sources = []
    for name, source in config.data.sources.items():
        if not source.ratio:
            continue
        dataset = get_dataset(source.dataset, **source.options)
        mapper = SampleMapper(
            tokenizer,
            image_size=config.image.size,
            num_image_tokens=config.num_image_tokens,
            task=source.task,
            training=True,
            settings=_unify_settings(config, source.response or config.response.kind),
            phrase_pool=_phrases(dataset) if source.task == "grounding" else (),
            max_length=config.prompt.max_length,
            seed=config.train.seed,
        )
        sources.append(MixSource(name, dataset, mapper, ratio=source.ratio, batch_size=source.batch_size))
    mixture = TaskMixture(sources, seed=config.train.seed)
    return TrainingMixture(mixture, config=config, pad_id=tokenizer.pad_id)


def _unify_settings(config: Config, response: str) -> UnifySettings:
    names = config.names  # keys of NamesConfig are final: full_limit, full_probability, sizes, phrase_negatives
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
    )


def _phrases(dataset: Sequence[Record], limit: int = 500) -> tuple[str, ...]:
    """Phrases of the first records, the pool that negatives are drawn from."""
    found: dict[str, None] = {}
    for index in range(min(limit, len(dataset))):
        found.update({a.phrase: None for a in dataset[index].annotations if a.phrase})
    return tuple(found)


def build_trainer_settings(config: Config) -> TrainerSettings:
    """Settings of the training loop."""
    train = config.train
    return TrainerSettings(
        steps=train.steps,
        accumulation=train.grad_accumulation,
        clip_norm=config.optim.clip_norm,
        precision=train.precision,
        seed=train.seed,
        num_workers=config.data.num_workers,
        log_every=train.log_every or train.steps,
        max_seconds=train.time_limit,
    )


def build_optimizer_settings(config: Config) -> OptimizerSettings:
    """Settings of AdamW and its schedule."""
    optim = config.optim
    scales = {"encoder.": optim.encoder_lr_scale} if config.model.encoder.train else {}
    return OptimizerSettings(
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        betas=(optim.betas[0], optim.betas[1]),
        eps=optim.eps,
        lr_scales=scales,
        warmup_ratio=optim.warmup_ratio,
        schedule=optim.schedule,
        ema_decay=optim.ema_decay or None,
    )


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training parameters whose name starts with one of the prefixes.

    Raises:
        ValueError: a prefix matches nothing.
    """
    for prefix in prefixes:
        matched = [parameter for name, parameter in model.named_parameters() if name.startswith(prefix)]
        if not matched:
            raise ValueError(f"train.freeze: no parameter name starts with {prefix!r}")
        for parameter in matched:
            parameter.requires_grad_(False)


def build_postprocess(config: Config) -> PostprocessSettings:
    """Thresholds of the post-processing."""
    post = config.post
    return PostprocessSettings(
        box_score=post.box_score,
        classifier=config.model.classifier.word,
        top_k=post.top_k,
        mask_threshold=post.mask_threshold,
        panoptic_score=post.panoptic_score,
        overlap=post.panoptic_overlap,
        restrict_kind=post.restrict_kind,
        gres_threshold=post.gres_score,
        gres_fallback_top1=post.gres_fallback_top1,
        mask_chunk=post.mask_chunk,
    )
