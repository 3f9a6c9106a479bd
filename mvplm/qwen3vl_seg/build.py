"""From a configuration to a model that writes boxes and decodes their masks, and what surrounds it. It runs nothing."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from mvplm.config import Config, SmallVlmConfig
from mvplm.data.written import WrittenCollate
from mvplm.models.adapters import AdapterSettings
from mvplm.models.qwen3vl_seg.capture import base_of
from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.qwen3vl_seg.model import Qwen3VLSeg
from mvplm.models.qwen3vl_seg.rows import add_box_mask_tokens
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.models.text_mask.adapters import with_adapters, with_token_rows
from mvplm.prompts.box_masks import MASK_TOKEN, QUESTIONS
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.plain import PlainTokenizer
from mvplm.text4seg.build import read_base, read_processor

_PICTURE_START = "<|vision_start|>"


@dataclass(frozen=True)
class BoxMaskSystem:
    """A model with everything that makes batches for it.

    Attributes:
        model: base model (``model.base``, adapters inside) and mask decoder. processor: Hugging Face's.
        tokenizer: the plain tokenizer with the mask tokens. frame: of the chat template.
        new_tokens: ids whose rows were added for masks.
    """

    model: Qwen3VLSeg
    processor: Any
    tokenizer: PlainTokenizer
    frame: ChatFrame
    new_tokens: list[int]

    @property
    def mask_id(self) -> int:
        """Id of ``<mask_token>``."""
        assert self.model.mask_id is not None, "models are assembled with it"
        return self.model.mask_id

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end an answer; the first is the one that is learned."""
        return tuple(dict.fromkeys([self.frame.end, int(self.tokenizer.tokenizer.eos_token_id)]))

    def collate(self, config: Config) -> WrittenCollate:
        """What makes batches, with the processor's arguments and the order of a configuration."""
        settings = config.box_mask
        opening = None
        if settings.prompt_order == "text_first":
            opening = self.tokenizer.get_vocab()[_PICTURE_START]
        return WrittenCollate(
            self.processor,
            self.tokenizer,
            frame=self.frame,
            options=dict(settings.processor),
            opening=opening,
            whole=True,
        )


def build_box_mask(config: Config, *, processor: Any = None, adapters: bool = True) -> BoxMaskSystem:
    """The system of a configuration: its base model, or the small one with random weights; a new mask decoder.

    Args:
        config: its settings.
        processor: one that was saved with the mask tokens; None takes the base's own.
        adapters: attach the adapters that the configuration asks for.

    Raises:
        ValueError: the base cannot be read or is no Qwen3-VL, or its processor has no chat template.
    """
    settings = config.box_mask
    if settings.base is None:
        base, processor = _small(settings.small, processor)
    else:
        base = read_base(settings.base, dtype=settings.dtype)
        processor = read_processor(settings.base) if processor is None else processor
    return assemble_box_mask(base, processor, config=config, adapters=adapters)


def assemble_box_mask(base: nn.Module, processor: Any, *, config: Config, adapters: bool = True) -> BoxMaskSystem:
    """The system around a Qwen3-VL and its processor; both get the mask tokens.

    Raises:
        ValueError: the base is no Qwen3-VL.
    """
    base_of(base)
    decoder = BoxGuidedMaskDecoder.from_base_config(base.config, **decoder_options(config))
    new = add_box_mask_tokens(base, processor.tokenizer)
    if adapters:
        base = _with_adapters(base, config, new_tokens=new)
    tokenizer = PlainTokenizer(processor.tokenizer)
    model = Qwen3VLSeg(base, decoder, mask_id=tokenizer.get_added_vocab()[MASK_TOKEN])
    return BoxMaskSystem(model, processor, tokenizer, ChatFrame.of(processor, tokenizer), new)


def decoder_options(config: Config) -> dict[str, Any]:
    """Settings of the mask decoder by name."""
    options = asdict(config.box_mask.decoder)
    return {**options, "stem_channels": tuple(options["stem_channels"])}


def _with_adapters(base: nn.Module, config: Config, *, new_tokens: list[int]) -> nn.Module:
    lora = config.box_mask.lora
    if lora.rank:
        settings = AdapterSettings(lora.rank, lora.alpha, dropout=lora.dropout, targets=tuple(lora.targets))
        return with_adapters(base, settings, new_tokens=new_tokens, key="box_mask.lora")
    return with_token_rows(base, new_tokens=new_tokens) if config.box_mask.frozen_base else base


def _small(small: SmallVlmConfig, processor: Any) -> "tuple[nn.Module, Any]":
    sizes = SmallSizes(**{name: getattr(small, name) for name in SmallSizes.__dataclass_fields__})
    if processor is None:
        processor = small_processor(small_tokenizer(_small_texts(), vocab_size=small.vocab_size), sizes)
    return small_model(processor.tokenizer, sizes), processor


def _small_texts() -> list[str]:
    """What the small tokenizer learns its words from: scenes, and the fixed words of questions and answers."""
    from mvplm.data.scenes import scene_texts

    fixed = [*QUESTIONS.values(), '[{"bbox_2d": [1, 2, 3, 4], "label": "it", "mask": "m"}, {"bbox_2d": [5]}]']
    texts = list(scene_texts())
    return [*texts, *fixed * max(1, len(texts) // 20)]
