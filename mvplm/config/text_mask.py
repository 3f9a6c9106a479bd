"""Settings of models that write masks as text. Source: Text4Seg and Text4Seg++, model and training settings."""

from dataclasses import dataclass, field
from typing import Any

from mvplm.config.base import Section, setting
from mvplm.config.model import LoraConfig

CODECS = ("isd_full", "isd_irle", "isd_rrle", "bsd", "bsd_bricks", "canvas")
MASK_FORMS = (
    "semantic.all",
    "semantic.partial",
    "semantic.conditional",
    "refer.single",
    "refer.general",
    "reason.single",
    "reason.multi",
    "remote.refer",
    "remote.reason",
    "ground",
    "detect",
    "vqa",
)

BOX_FORMS = ("ground", "detect")


@dataclass
class SmallVlmConfig(Section):
    """A multimodal language model of transformers at toy size with random weights.

    Attributes:
        kind: architecture; "llava" sees with convolutions and a small transformer on them.
        vocab_size: of its tokenizer, learned from the embedded dataset's texts; the tokens of masks come on top.
        width, layers, heads, ffn, context: of the language model.
        vision_width, vision_layers, vision_heads, vision_ffn: of the vision encoder.
        patch: side of a patch in pixels. merge: so many patches a side make one visual token.
        image: side in pixels for which positions are learned; with "llava" pictures are resized to it.
        picture_attention: "causal": a visual token of the language model sees those in front of it; "full", with
            "llava": all of its picture.
    """

    kind: str = setting("qwen3_vl", choices=("qwen2_vl", "qwen3_vl", "llava"))
    vocab_size: int = setting(768, low=300)
    width: int = setting(192, low=8)
    layers: int = setting(6, low=1)
    heads: int = setting(6, low=1)
    ffn: int = setting(768, low=8)
    context: int = setting(1024, low=64)
    vision_width: int = setting(128, low=8)
    vision_layers: int = setting(4, low=2)
    vision_heads: int = setting(4, low=1)
    vision_ffn: int = setting(384, low=8)
    patch: int = setting(8, low=2)
    merge: int = setting(2, low=1)
    image: int = setting(192, low=16)
    picture_attention: str = setting("causal", choices=("causal", "full"))


@dataclass
class TextMaskConfig(Section):
    """A multimodal language model that writes masks as text.

    Attributes:
        base: directory or Hub id of a model of ``AutoModelForImageTextToText`` with its processor; None builds the
            small one from ``small``.
        small: its sizes.
        codec: how masks are spelled. grid: cells a side of the picture or, with "canvas", of every mask; 0: the
            codec's own. up: from cells to pixels.
        bins: steps of a side of the picture in which "canvas" tells boxes. row_sep: between rows of masks in boxes a
            "line" feed or "none"; "auto" takes the codec's own.
        whole_numbers: coordinates are tokens of their own, as far as the tokenizer has them (that of ``small`` then
            does), not single digits.
        processor: more arguments of the processor for pictures, such as ``{min_pixels: 614656}``.
        wordings: so many of the three wordings of a question are used in training.
        max_length: most ids of the questions and answers of a sample.
        max_new_tokens: longest answer at inference, its end included.
        constrained: only answers that the codec writes; without, the model writes what it likes, and how many answers
            can be read is a measurement.
        refiner: directory with a ``SamModel`` of transformers that refines written masks; None leaves them as written.
        dtype: of the weights of ``base``: "fp32", or "bf16", half the memory, where adapters are trained.
        learns: "answers"; or "cells": what each visual token shows, so that a vision encoder from scratch learns to see
            before its language model learns to answer; sources then need masks and lists of names; or "asked":
            what visual tokens show of what is asked for, see ``looking``, and nothing else.
        lenders: with "cells": so many pictures of a batch lend their objects to each, pasted where nothing stands.
        prompt_order: "image_first" (published; a picture is read once for any number of questions), or "text_first":
            the first question stands in front of the picture as well, which is then read for each question, with it in
            mind.
        looking: weight of a hint in training, with "text_first": each visual token says which quarters of its cell show
            what is asked for, without which small models from scratch hardly learn to look.
        box_hints: weight of another one in training, beside ``looking``, with codecs of boxes and bricks: visual tokens
            say the boxes of what is asked for, and each token of an answer looks at what it is about, and says its box.
        word_hints: weight of a third, beside ``looking``: visual tokens look at the words of the question that name
            what they show. Sources then need masks and lists of names.
        mask_hints: weight of a fourth, beside ``box_hints``, with codec "canvas": visual tokens say what is painted on
            the canvas of what is asked for; tokens of an answer do so as well, and say which row is written and what is
            painted there. With "cells" visual tokens do so about what they show.
        edge_weight: so many times as much as others count, beside ``looking``, tokens of answers that spell edges of
            boxes: they are few, and all of a mask stands where they say.
        opening_weight: the same for the tokens with which an answer says that there is an object, or that there is
            none: all of it follows from them.
        lora: adapters of the language model; without, all of the model is trained but what ``train.freeze`` names.
    """

    base: str | None = None
    small: SmallVlmConfig = field(default_factory=SmallVlmConfig)
    codec: str = setting("bsd_bricks", choices=CODECS)
    grid: int = setting(0, low=0, high=256)
    up: str = setting("auto", choices=("auto", "bilinear", "nearest"))
    bins: int = setting(1000, low=2, high=1000)
    row_sep: str = setting("auto", choices=("auto", "line", "none"))
    whole_numbers: bool = False
    processor: dict[str, Any] = field(default_factory=dict)
    wordings: int = setting(3, low=1, high=3)
    max_length: int = setting(4096, low=32)
    max_new_tokens: int = setting(1024, low=8)
    constrained: bool = True
    refiner: str | None = None
    dtype: str = setting("fp32", choices=("fp32", "bf16"))
    learns: str = setting("answers", choices=("answers", "cells", "asked"))
    lenders: int = setting(0, low=0)
    prompt_order: str = setting("image_first", choices=("image_first", "text_first"))
    looking: float = setting(0.0, low=0)
    box_hints: float = setting(0.0, low=0)
    word_hints: float = setting(0.0, low=0)
    mask_hints: float = setting(0.0, low=0)
    edge_weight: float = setting(1.0, low=0)
    opening_weight: float = setting(1.0, low=0)
    lora: LoraConfig = field(default_factory=LoraConfig)

    @property
    def hints(self) -> bool:
        """Whether visual tokens learn what they show of what is asked for."""
        return self.learns == "asked" or self.looking > 0
