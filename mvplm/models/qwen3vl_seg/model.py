"""Qwen3-VL-Seg as a whole: the base model and its box-guided mask decoder.

Source: Qwen3-VL-Seg (arXiv 2605.07141).
"""

from typing import Any

from torch import nn

from mvplm.models.qwen3vl_seg.bases import base_config, base_model, decoder_settings
from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.qwen3vl_seg.parameters import ParameterTable, parameter_table
from mvplm.models.qwen3vl_seg.training import guided_forward
from mvplm.structures.guided import GuidedBatch, GuidedOutput


class Qwen3VLSeg(nn.Module):
    """A base model that writes boxes, and the decoder that turns them into masks.

    Args:
        base: ``Qwen3VLForConditionalGeneration`` of transformers, or its mixture-of-experts sister.
        mask_decoder: built for the base model's configuration.
        mask_id: id of ``<mask_token>``; without it the model can be looked at, but not trained or asked.
    """

    def __init__(self, base: nn.Module, mask_decoder: BoxGuidedMaskDecoder, *, mask_id: int | None = None) -> None:
        super().__init__()
        self.base = base
        self.mask_decoder = mask_decoder
        self.mask_id = mask_id

    @classmethod
    def from_name(cls, name: str, **settings: Any) -> "Qwen3VLSeg":
        """A named architecture with random weights, on the current default device.

        Args:
            name: one of ``bases.NAMES``.
            settings: fields of ``DecoderSettings`` that replace the architecture's own.

        Raises:
            ValueError: unknown name, or settings that do not fit.
        """
        config = base_config(name)
        decoder = BoxGuidedMaskDecoder.from_base_config(config, **{**decoder_settings(name), **settings})
        return cls(base_model(config), decoder)

    def forward(self, batch: GuidedBatch) -> GuidedOutput:
        """Text loss and masks of a batch with answers, from one teacher-forced pass; what training calls.

        Raises:
            ValueError: answers are open, the model has no ``mask_id``, or an instance has no mask token in its answer.
        """
        if self.mask_id is None:
            raise ValueError("the model was built without mask_id, so it cannot find the mask tokens of answers")
        return guided_forward(self.base, self.mask_decoder, batch=batch, mask_id=self.mask_id)

    def parameter_table(self) -> ParameterTable:
        """Parameters of the decoder by component, and its share of the base model."""
        return parameter_table(self.mask_decoder, self.base)
