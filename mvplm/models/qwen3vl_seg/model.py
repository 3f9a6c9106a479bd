"""Qwen3-VL-Seg as a whole: the base model and its box-guided mask decoder.

Source: Qwen3-VL-Seg (arXiv 2605.07141).
"""

from torch import nn

from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder
from mvplm.models.qwen3vl_seg.parameters import ParameterTable, parameter_table


class Qwen3VLSeg(nn.Module):
    """A base model that writes boxes, and the decoder that turns them into masks.

    Args:
        base: ``Qwen3VLForConditionalGeneration`` of transformers, or its mixture-of-experts sister.
        mask_decoder: built for the base model's configuration.
    """

    def __init__(self, base: nn.Module, mask_decoder: BoxGuidedMaskDecoder) -> None:
        super().__init__()
        self.base = base
        self.mask_decoder = mask_decoder

    def parameter_table(self) -> ParameterTable:
        """Parameters of the decoder by component, and its share of the base model."""
        return parameter_table(self.mask_decoder, self.base)
