"""Settings of models that write boxes and decode a mask for each. Source: Qwen3-VL-Seg, as its specification lists."""

from dataclasses import dataclass, field
from typing import Any

from mvplm.config.base import Section, setting
from mvplm.config.model import LoraConfig
from mvplm.config.text_mask import SmallVlmConfig

BOX_MASK_FORMS = ("category", "description", "general", "reason", "rec", "vqa")
VISUAL_STRIDE = 32
"""Pixels a side of a merged visual token that the mask decoder needs."""


def _small() -> SmallVlmConfig:
    return SmallVlmConfig(patch=16, merge=2, image=256)


@dataclass
class BoxDecoderConfig(Section):
    """The box-guided mask decoder; see ``mvplm.models.qwen3vl_seg.settings.DecoderSettings``.

    Attributes:
        width, layers, heads, ffn, groups: of queries, query decoder and norms.
        position_grid: side of the learned position grid.
        bands, max_octave: Fourier bands per coordinate, and the octaves that they span.
        stem_channels: of the three convolutions on the image.
        gate_frame: unit of the gate's slope, sides of the "image" (published) or of the "box".
        gate_mode: one gate for all boxes ("union", published) or one for each ("instance").
        gate_slope, gate_enlarge: its steepness, and the factor on each box's sides.
        independent: instances of one image do not look at each other.
        max_instances: instances decoded jointly; more are decoded in chunks.
        injection, image_branch, refinement: parts that an ablation leaves out.
    """

    width: int = setting(256, low=8)
    layers: int = setting(3, low=1)
    heads: int = setting(8, low=1)
    ffn: int = setting(2048, low=8)
    groups: int = setting(8, low=1)
    position_grid: int = setting(48, low=1)
    bands: int = setting(64, low=2)
    max_octave: int = setting(9, low=1)
    stem_channels: list[int] = setting([32, 64, 128], length=3, low=1)
    gate_frame: str = setting("image", choices=("image", "box"))
    gate_mode: str = setting("union", choices=("union", "instance"))
    gate_slope: float = setting(20.0, low=0.01)
    gate_enlarge: float = setting(1.15, low=1)
    independent: bool = False
    max_instances: int = setting(32, low=1)
    injection: bool = True
    image_branch: bool = True
    refinement: bool = True


@dataclass
class BoxMaskLossConfig(Section):
    """Weights of the losses of masks and overlaps beside that of the text.

    Attributes:
        seg: of all mask losses. bce, dice: in each. first: of the masks before refinement. iou: of the overlap head.
        crop_points: side of the grid of points sampled in and around each box; 0: none.
        crop_enlarge: factor on the sides of that box.
    """

    seg: float = setting(1.0, low=0)
    bce: float = setting(2.0, low=0)
    dice: float = setting(1.0, low=0)
    first: float = setting(0.5, low=0)
    iou: float = setting(0.2, low=0)
    crop_points: int = setting(256, low=0)
    crop_enlarge: float = setting(1.3, low=1)


@dataclass
class BoxMaskConfig(Section):
    """A Qwen3-VL that writes boxes, with its mask decoder.

    Attributes:
        base: directory or Hub id of a Qwen3-VL with its processor; None builds a small one from ``small``.
        small: its sizes. decoder: sizes and options of the mask decoder.
        prompt_order: "image_first" (published; image states do not see the question and can be kept for many), or
            "text_first": the question stands in front of the image as well.
        processor: more arguments of the processor for pictures, such as ``{max_pixels: 1048576}``.
        max_length: most ids of question and answer of a training sample. max_new_tokens: longest answer at inference.
        max_instances: objects in one answer at most.
        constrained: answers cannot leave the agreed form. label_tokens: longest label there.
        mask_threshold: logit above which a pixel belongs to a mask.
        jitter: training moves each edge of a box by up to this share of the box's side.
        box_mix: shares of true, jittered and predicted boxes that the decoder is trained with.
        written_boxes: file with the predicted ones, see ``mvplm.data.guided_boxes``; without, jittered ones take their
            share.
        most_names: names in one training question about categories. negatives: share of such questions about a name
            that is not there. most_masks: masks learned per sample.
        loss: weights of the losses.
        dtype: of the weights of ``base``: "fp32", or "bf16", half the memory, where adapters are trained.
        lora: adapters of the language model; without, all of the model is trained but what ``train.freeze`` names.
        vision_lr_scale: factor on the learning rate of the vision tower; 0 freezes it, None treats it as the rest of
            the base model.
        frozen_base: without ``lora``, nothing of the base model is trained but the rows of the mask tokens.
    """

    base: str | None = None
    small: SmallVlmConfig = field(default_factory=_small)
    decoder: BoxDecoderConfig = field(default_factory=BoxDecoderConfig)
    prompt_order: str = setting("image_first", choices=("image_first", "text_first"))
    processor: dict[str, Any] = field(default_factory=dict)
    max_length: int = setting(4096, low=32)
    max_new_tokens: int = setting(2048, low=8)
    max_instances: int = setting(32, low=1)
    constrained: bool = True
    label_tokens: int = setting(40, low=1)
    mask_threshold: float = 0.0
    jitter: float = setting(0.1, low=0, high=0.5)
    box_mix: list[float] = setting([0.25, 0.5, 0.25], length=3, low=0)
    written_boxes: str | None = None
    most_names: int = setting(4, low=1)
    negatives: float = setting(0.05, low=0, high=1)
    most_masks: int = setting(8, low=1)
    loss: BoxMaskLossConfig = field(default_factory=BoxMaskLossConfig)
    dtype: str = setting("fp32", choices=("fp32", "bf16"))
    lora: LoraConfig = field(default_factory=LoraConfig)
    vision_lr_scale: float | None = setting(None, low=0)
    frozen_base: bool = False

    def problems(self) -> list[str]:
        """Sentences about settings that do not go together; empty when all is well."""
        small, decoder = self.small, self.decoder
        found = []
        for key, divisor in (("width", "heads"), ("vision_width", "vision_heads"), ("image", "patch")):
            if getattr(small, key) % getattr(small, divisor):
                found.append(f"box_mask.small.{key} must be a multiple of box_mask.small.{divisor}")
        if small.kind != "qwen3_vl" or small.patch * small.merge != VISUAL_STRIDE:
            found.append(
                f"box_mask.small must be a qwen3_vl with patch * merge {VISUAL_STRIDE}, "
                f"got {small.kind!r} with {small.patch} * {small.merge}"
            )
        if decoder.width % decoder.heads:
            found.append("box_mask.decoder.width must be a multiple of box_mask.decoder.heads")
        if any(channels % decoder.groups for channels in (decoder.width, *decoder.stem_channels)):
            found.append("box_mask.decoder.groups must divide its width and stem_channels")
        if self.dtype == "bf16" and not (self.lora.rank or self.frozen_base):
            found.append(
                "box_mask.dtype 'bf16' keeps too few digits to train all weights: set box_mask.lora.rank or "
                "box_mask.frozen_base"
            )
        if self.dtype == "bf16" and self.vision_lr_scale:
            found.append("box_mask.dtype 'bf16' keeps too few digits to train the vision tower: use 'fp32'")
        if not sum(self.box_mix):
            found.append("box_mask.box_mix must have a share above 0")
        return found
