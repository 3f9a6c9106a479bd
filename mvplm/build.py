"""From a configuration to a network and what surrounds it: the place that sees both. It builds; it runs nothing."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mvplm.config import Config, load_config
from mvplm.config.base import near
from mvplm.config.presets import PRESETS
from mvplm.data.collate import collate
from mvplm.initial import language_folder, load_initial_weights
from mvplm.models.adapters import AdapterSettings, add_adapters
from mvplm.models.connector import Connector
from mvplm.models.decoder import Decoder
from mvplm.models.denoising import DenoisingSettings
from mvplm.models.generation import ResponseTokens
from mvplm.models.heads import Heads
from mvplm.models.language import LanguageModel
from mvplm.models.memo import Memo
from mvplm.models.mvplm import MVPLM, Parts
from mvplm.models.pixel_decoder import PixelDecoder
from mvplm.models.queries import QueryGenerator, StuffQueries
from mvplm.models.qwen3vl_seg.bases import NAMES as QWEN3VL_SEG_NAMES
from mvplm.models.qwen3vl_seg.model import Qwen3VLSeg
from mvplm.models.selection import Selector
from mvplm.models.text import TextEmbedder
from mvplm.models.vision import SwinEncoder, TimmEncoder
from mvplm.postprocess import PostprocessSettings
from mvplm.prompts import (
    PAPER_CONTROLS,
    RELEASED_CONTROLS,
    SUFFIX_TOKEN,
    SUMMARY_TOKEN,
    PromptLayout,
    PromptStyle,
    PromptTokenizer,
    train_scenes_tokenizer,
)
from mvplm.prompts.templates import RESULT_TEXT
from mvplm.structures import Batch, BoxFormat, Sample


def list_models() -> list[str]:
    """Names that :func:`create_model` builds with random weights; those with shipped weights are in MODEL_ZOO."""
    return sorted([*PRESETS, *QWEN3VL_SEG_NAMES])


def create_model(
    name: str,
    *,
    tokenizer: PromptTokenizer | None = None,
    encoder: str | Path | None = None,
    language_model: str | Path | None = None,
    local_files_only: bool = True,
    meta: bool = False,
    **overrides: Any,
) -> MVPLM | Qwen3VLSeg:
    """A named architecture with random weights, or those that its parts are given to start from.

    Args:
        name: see :func:`list_models`.
        tokenizer: tokenizer to size and frame the language model with; by default that of ``language_model``, else
            the preset's own.
        encoder: file, directory or Hub id with weights for the vision encoder: its own, or for a Swin those of
            transformers, timm, detectron2 or a Mask2Former.
        language_model: directory or Hub id with weights (and tokenizer) of the preset's Phi, as transformers saves it.
        local_files_only: never use the network; False allows downloads from the Hub.
        meta: build on the meta device: shapes without memory, to count and to look at.
        overrides: dotted configuration keys with ``__`` for dots, e.g. ``model__query__fusion="visual_only"``; for a
            Qwen3-VL-Seg settings of its mask decoder, e.g. ``gate_frame="box"``.

    Raises:
        ValueError: unknown name (with near matches), bad overrides, or weights that do not fit.
        FileNotFoundError: a directory or file is missing; the message names it.
    """
    if name not in list_models():
        raise ValueError(f"unknown model {name!r}{near(name, list_models())}; choose one of {', '.join(list_models())}")
    device = torch.device("meta") if meta else nullcontext()
    if name in QWEN3VL_SEG_NAMES:
        if tokenizer is not None or encoder is not None or language_model is not None:
            raise ValueError(f"{name} takes no tokenizer, encoder or language_model: its base model brings all three")
        with device:
            return Qwen3VLSeg.from_name(name, **overrides)
    if encoder is not None:
        overrides["model__encoder__weights"] = str(encoder)
    if language_model is not None:
        folder = language_folder(language_model, local_files_only=local_files_only, needs_tokenizer=tokenizer is None)
        overrides["model__llm__weights"] = str(folder)
        if tokenizer is None:
            overrides["model__llm__tokenizer"] = str(folder)
    items = [f"{key.replace('__', '.')}={json.dumps(value)}" for key, value in overrides.items()]
    config = load_config(None, [f"model.preset={name}", *items])
    tokenizer = tokenizer or build_tokenizer(config)
    with device:
        model = build_model(config, tokenizer, adapters=False)
        load_initial_weights(model, config, tokenizer=tokenizer, local_files_only=local_files_only)
        attach_adapters(model, config, tokenizer=tokenizer)
    return model


def build_tokenizer(config: Config) -> PromptTokenizer:
    """The tokenizer of a configuration; "scenes" is learned from the embedded dataset's texts in about a second."""
    llm = config.model.llm
    if llm.tokenizer == "scenes":
        from mvplm.data.scenes import scene_texts

        return train_scenes_tokenizer(scene_texts(), vocab_size=llm.vocab_size, controls=_controls(config))
    return PromptTokenizer.from_pretrained(llm.tokenizer, controls=_controls(config))


def _controls(config: Config) -> tuple[str, ...]:
    """Control tokens that the prompts of a configuration need."""
    if config.response.token != SUMMARY_TOKEN:
        return RELEASED_CONTROLS
    return (*PAPER_CONTROLS, SUFFIX_TOKEN) if config.model.text.pool_suffix else PAPER_CONTROLS


def build_style(config: Config) -> PromptStyle:
    """Wording of the prompts of a configuration."""
    text = config.model.text
    listed = text.no_object == "background_name" and config.model.classifier.word == "softmax_ce"
    return PromptStyle(config.prompt.style, suffix=text.pool_suffix, no_object=listed)


def attach_adapters(model: MVPLM, config: Config, *, tokenizer: PromptTokenizer) -> None:
    """Give the language model the adapters of the configuration, if it asks for any (in place)."""
    lora = config.model.llm.lora
    if lora.rank:
        words = tokenizer.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
        settings = AdapterSettings(lora.rank, lora.alpha, dropout=lora.dropout, targets=tuple(lora.targets))
        add_adapters(model.llm, settings, new_tokens=range(words, tokenizer.vocab_size))


def build_model(config: Config, tokenizer: PromptTokenizer, *, adapters: bool = True) -> MVPLM:
    """The network of a configuration, on the current default device.

    Weights are random but for a language model of kind "auto"; see :func:`load_initial_weights`.

    Args:
        config: its settings.
        tokenizer: sizes and frames the language model.
        adapters: attach the adapters it asks for; without, weights of a model that has none can be loaded before
            :func:`attach_adapters`.
    """
    model = config.model
    encoder = _encoder(config)
    llm = _language_model(config, tokenizer)
    width = model.pixel_decoder.width
    # Parts are built in this order whatever they are, so that a seed always gives the same weights.
    parts = Parts(
        encoder=encoder,
        connector=_connector(config, encoder.channels[32], out_width=llm.width),
        llm=llm,
        text=TextEmbedder(
            llm.width,
            width,
            projection=model.text.proj,
            no_object=model.classifier.word == "softmax_ce" and model.text.no_object == "learned",
            hidden=model.text.hidden,
        ),
        pixel_decoder=_pixel_decoder(config, encoder.channels),
        selector=None
        if model.query.fusion == "base_only"
        else Selector(width, num=model.query.num, score=model.select.score, kinds=model.select.kinds),
        query=QueryGenerator(
            llm.width, width, num=model.query.num, expand=model.query.expand, fusion=model.query.fusion
        ),
        stuff=StuffQueries(width, num=model.stuff.num, detach=model.stuff.detach) if model.stuff.num else None,
        decoder=_decoder(config),
        heads=Heads(
            width,
            mask_width=model.pixel_decoder.mask_width,
            text_width=width,
            focal=model.classifier.word == "sigmoid_focal",
        ),
    )
    network = MVPLM(
        parts,
        tokens=ResponseTokens(
            summary=tokenizer.summary_id, end=tokenizer.end_id, tail=tuple(tokenizer.encode(RESULT_TEXT))
        ),
        denoising=_denoising(config),
        anchor_scale=model.decoder.anchor_scale,
        chunking=config.vocab.chunking,
        names_only=model.llm.reads == "names",
    )
    if adapters:
        attach_adapters(network, config, tokenizer=tokenizer)
    return network


def _encoder(config: Config) -> Any:
    encoder = config.model.encoder
    options = dict(encoder.kwargs)
    if encoder.kind == "swin":
        built: Any = SwinEncoder(**options, drop_path=encoder.train_droppath, frozen=not encoder.train)
    else:
        built = TimmEncoder(encoder.name, frozen=not encoder.train, **options)
    if encoder.remember:
        built.memo = Memo(int(encoder.remember * 2**30), dtype=torch.float16)
    return built


def _connector(config: Config, in_channels: int, *, out_width: int) -> Connector:
    connector = config.model.connector
    return Connector(
        in_channels,
        out_width,
        width=connector.width,
        stride=connector.stride,
        norm="group" if connector.norm == "group" else "batch",
        conv2_repeats=connector.conv2_repeats,
    )


def _pixel_decoder(config: Config, channels: dict[int, int]) -> PixelDecoder:
    pixel = config.model.pixel_decoder
    return PixelDecoder(
        channels,
        width=pixel.width,
        mask_width=pixel.mask_width,
        layers=pixel.layers,
        heads=pixel.heads,
        points=pixel.points,
        ffn=pixel.ffn,
        levels=pixel.levels if pixel.finest is None else [pixel.finest << level for level in range(pixel.levels)],
        mask_padding=config.model.decoder.mask_padding,
        padded_boxes=config.boxes.frame == "padded",
    )


def _decoder(config: Config) -> Decoder:
    decoder = config.model.decoder
    return Decoder(
        config.model.pixel_decoder.width,
        layers=decoder.layers,
        heads=decoder.heads,
        points=decoder.points,
        ffn=decoder.ffn,
        levels=config.model.pixel_decoder.levels,
        loop_box_input=decoder.loop_box_input,
        level_order=decoder.level_order,
        double_norm=decoder.double_norm,
    )


def _language_model(config: Config, tokenizer: PromptTokenizer) -> LanguageModel:
    llm = config.model.llm
    if llm.kind == "auto":
        from transformers import AutoModelForCausalLM

        causal = AutoModelForCausalLM.from_pretrained(
            llm.path, local_files_only=True, attn_implementation=llm.attention
        )
        if causal.get_input_embeddings().weight.shape[0] < tokenizer.vocab_size:
            causal.resize_token_embeddings(tokenizer.vocab_size, mean_resizing=False)
        language = LanguageModel(causal, num_tokens=tokenizer.vocab_size, head_bias=llm.lm_head_bias)
    else:
        language = LanguageModel.from_phi(
            num_tokens=tokenizer.vocab_size,
            attention=llm.attention,
            head_bias=llm.lm_head_bias,
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


def build_layout(config: Config) -> PromptLayout:
    """What comes first in a prompt, and where long lists are cut."""
    vocab = config.vocab
    return PromptLayout(config.prompt.order, max_names=vocab.max_names, response_room=vocab.response_room)


def build_collate(config: Config, tokenizer: PromptTokenizer) -> Callable[[Sequence[Sample]], Batch]:
    """The function that makes a batch of samples, in the frame and normalisation of the configuration."""
    return partial(
        collate,
        pad_id=tokenizer.pad_id,
        num_image_tokens=config.num_image_tokens,
        image_size=config.image.size,
        mean=config.image.mean,
        std=config.image.std,
        pad_value=None if config.image.pad_value == "mean" else float(config.image.pad_value),
        box_format=BoxFormat.CXCYWH_PADDED if config.boxes.frame == "padded" else BoxFormat.CXCYWH_NORM,
    )


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
        things_before_top_k=post.things_before_top_k,
        mask_chunk=post.mask_chunk,
        box_names="own" if config.model.dn.anonymous > 0 else "overlap",
    )
