"""From a configuration to a model that writes masks as text, and what surrounds it. It builds; it runs nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvplm.build_training import mixture_of
from mvplm.config import Config, SourceConfig
from mvplm.data.cells import CellCollate, CellMapper, Forms, Ladder
from mvplm.data.mask_mapper import MaskTextMapper
from mvplm.data.mask_questions import QuestionMaker
from mvplm.data.mixing import TrainingMixture
from mvplm.data.pasting import PastingCollate
from mvplm.data.token_grids import TokenGrids
from mvplm.data.written import WrittenCollate
from mvplm.models.adapters import AdapterSettings
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.models.small.whole_pictures import attend_to_whole_pictures
from mvplm.models.text_mask import TextMaskModel, add_mask_tokens
from mvplm.models.text_mask.adapters import with_adapters
from mvplm.models.text_mask.sharing import can_share, share_pictures
from mvplm.pretrained import shipped_folder
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.mask_tasks import FORM_OF_TASK, TEMPLATES
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures.written import WrittenBatch, WrittenSample
from mvplm.textmask import BsdCodec, Codec, get_codec

PROCESSOR_DIR, MODEL_DIR = "processor", "model"

_ROW_SEPS = {"auto": None, "line": "\n", "none": ""}


@dataclass(frozen=True)
class TextMaskSystem:
    """A model with everything that makes batches for it.

    Attributes:
        model: the network. processor: Hugging Face's, with the tokens of masks. frame: of its chat template.
        new_tokens: ids whose rows were added for masks.
    """

    model: TextMaskModel
    processor: Any
    frame: ChatFrame
    new_tokens: list[int]

    @property
    def tokenizer(self) -> PlainTokenizer:
        """The plain tokenizer."""
        return self.model.tokenizer

    def collate(self, config: Config) -> WrittenCollate:
        """What makes batches, with the processor's arguments and the order of a configuration."""
        asked, settings = config.text_mask, self.model.model.config
        opening = None
        if asked.prompt_order == "text_first":
            opening = int(getattr(settings, "vision_start_token_id", None) or settings.image_token_id)
        return WrittenCollate(
            self.processor,
            self.tokenizer,
            frame=self.frame,
            options=dict(asked.processor),
            opening=opening,
            grids=TokenGrids.of(settings) if asked.hints else None,
            image_id=int(settings.image_token_id),
            shares=can_share(self.model.model),
        )


def build_codec(config: Config) -> Codec:
    """How masks are spelled."""
    settings = config.text_mask
    options: dict[str, Any] = {"up": settings.up}
    if not settings.codec.startswith("isd_"):
        options |= {"row_sep": _ROW_SEPS[settings.row_sep], "whole_numbers": settings.whole_numbers}
    if settings.codec == "canvas":
        options["bins"] = settings.bins
    return get_codec(settings.codec, grid=settings.grid or None, **options)


def build_text_mask(config: Config, *, processor: Any = None, adapters: bool = True) -> TextMaskSystem:
    """The system of a configuration: its base model, or the small one with random weights.

    Args:
        config: its settings.
        processor: one that was saved with the tokens of masks; None takes the base's own.
        adapters: attach the adapters that the configuration asks for.

    Raises:
        ValueError: the base cannot be read, or its processor has no chat template.
    """
    settings = config.text_mask
    if settings.base is None:
        model, processor = _small(config, processor)
    else:
        model, processor = _base(settings.base, processor, dtype=settings.dtype)
    return assemble(model, processor, config=config, adapters=adapters)


def assemble(model: nn.Module, processor: Any, *, config: Config, adapters: bool = True) -> TextMaskSystem:
    """The system around a model of ``AutoModelForImageTextToText`` and its processor; both get the tokens of masks."""
    attend_to_whole_pictures(model)
    share_pictures(model)
    codec = build_codec(config)
    new = add_mask_tokens(model, processor.tokenizer, codec=codec)
    lora = config.text_mask.lora
    if adapters and lora.rank:
        settings = AdapterSettings(lora.rank, lora.alpha, dropout=lora.dropout, targets=tuple(lora.targets))
        model = with_adapters(model, settings, new_tokens=new)
    tokenizer = PlainTokenizer(processor.tokenizer)
    frame = ChatFrame.of(processor, tokenizer)
    ends = tuple(dict.fromkeys([frame.end, int(tokenizer.tokenizer.eos_token_id)]))
    return TextMaskSystem(TextMaskModel(model, codec=codec, tokenizer=tokenizer, ends=ends), processor, frame, new)


def read_base(place: str | Path, *, dtype: str = "fp32") -> nn.Module:
    """A model of ``AutoModelForImageTextToText`` from a directory, a saved run, a shipped model, or the Hub.

    Raises:
        ValueError: nothing there, or no model of that kind; the message names the place.
    """
    from transformers import AutoModelForImageTextToText

    kept = torch.bfloat16 if dtype == "bf16" else torch.float32
    return _read(partial(AutoModelForImageTextToText.from_pretrained, dtype=kept), _part(place, MODEL_DIR))


def read_processor(place: str | Path) -> Any:
    """A processor of ``AutoProcessor``; errors as for :func:`read_base`."""
    from transformers import AutoProcessor

    return _read(AutoProcessor.from_pretrained, _part(place, PROCESSOR_DIR))


def _part(place: str | Path, name: str) -> str | Path:
    """Where a shipped model, or one that a run saved, keeps a part; elsewhere model and processor lie side by side."""
    part = (shipped_folder(place) or Path(place)) / name
    return part if (part / "config.json").is_file() or (part / "tokenizer_config.json").is_file() else place


def _read(read: Any, place: str | Path) -> Any:
    try:
        return read(str(place), local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{place} cannot be read as a multimodal model (AutoModelForImageTextToText with AutoProcessor): {error}"
        ) from error


def _base(place: str, processor: Any, *, dtype: str) -> "tuple[nn.Module, Any]":
    return read_base(place, dtype=dtype), read_processor(place) if processor is None else processor


def _small(config: Config, processor: Any) -> "tuple[nn.Module, Any]":
    small = config.text_mask.small
    values = {name: getattr(small, name) for name in SmallSizes.__dataclass_fields__}
    sizes = SmallSizes(**values)
    if processor is None:
        processor = small_processor(
            small_tokenizer(_small_texts(), vocab_size=small.vocab_size, numbers=_numbers(config)), sizes
        )
    return small_model(processor.tokenizer, sizes), processor


def _numbers(config: Config) -> int:
    """The largest number that is a token of its own."""
    codec = build_codec(config)
    return max(codec.limit) if isinstance(codec, BsdCodec) and codec.whole_numbers else 0


def _small_texts() -> list[str]:
    """What the small tokenizer learns its words from: scenes, and the fixed words of questions and answers."""
    from mvplm.data.scenes import scene_texts
    from mvplm.textmask.answer import NO_TARGET

    fixed = [NO_TARGET, *(wording for wordings in TEMPLATES.values() for wording in wordings)]
    texts = list(scene_texts())
    return [*texts, *fixed * max(1, len(texts) // 20)]


def _hints(config: Config, *, pictures: bool) -> list[str]:
    """What samples tell beside answers."""
    settings = config.text_mask
    if not pictures:
        return ["sketches"] if settings.mask_hints else []
    wanted = {
        "shown": settings.hints,
        "boxes": settings.box_hints > 0,
        "names": settings.word_hints > 0,
        "sketches": settings.mask_hints > 0,
    }
    return [name for name, told in wanted.items() if told]


def build_mask_mapper(
    config: Config,
    system: TextMaskSystem,
    *,
    task: str,
    form: str | None = None,
    max_length: int | None = None,
    pictures: bool = True,
    training: bool = True,
) -> MaskTextMapper:
    """From records to samples of a task; evaluation (not ``training``) asks and tells no answers."""
    maker = QuestionMaker(build_codec(config), form or FORM_OF_TASK[task], training=training, answered=training)
    return MaskTextMapper(
        maker,
        system.tokenizer,
        task=task,
        wordings=config.text_mask.wordings,
        max_length=max_length or config.text_mask.max_length,
        seed=config.train.seed,
        hints=_hints(config, pictures=pictures) if training else (),
        apart=config.text_mask.prompt_order == "text_first",
        answers=config.text_mask.learns == "answers" or not pictures,
        pictures=pictures,
    )


def source_mapper(config: Config, system: TextMaskSystem, *, source: SourceConfig) -> MaskTextMapper:
    """From records to samples of a source."""
    return build_mask_mapper(
        config,
        system,
        task=source.task,
        form=source.form,
        max_length=source.max_length,
        pictures=source.pictures,
    )


def build_cell_mixture(config: Config, system: TextMaskSystem) -> TrainingMixture:
    """The mixture of a run in which visual tokens learn what they show."""
    grids = TokenGrids.of(system.model.model.config)
    codec = system.model.codec
    forms = Forms(Ladder(codec), codec if config.text_mask.mask_hints and isinstance(codec, BsdCodec) else None)
    mapper = CellMapper(system.tokenizer, forms=forms, seed=config.train.seed)
    collate = CellCollate(system.collate(config).pictures, system.tokenizer, grids=grids)
    pasting = PastingCollate(collate, forms=forms, lenders=config.text_mask.lenders)
    return mixture_of(config, lambda source, _: mapper, collate=pasting)


def build_mask_mixture(config: Config, system: TextMaskSystem) -> TrainingMixture:
    """The mixture of a run; see :func:`mvplm.build_training.mixture_of`."""
    return mixture_of(
        config,
        lambda source, _: source_mapper(config, system, source=source),
        collate=training_collate(config, system),
    )


def training_collate(config: Config, system: TextMaskSystem) -> Callable[[Sequence[WrittenSample]], WrittenBatch]:
    """Makes batches of questions and answers, or of what of them a run learns."""
    collate = system.collate(config)
    return collate.heads if config.text_mask.learns == "asked" else collate
