"""Qwen3-VL-Seg: a language model writes boxes, a light decoder turns each box into a mask.

Source: Qwen3-VL-Seg (arXiv 2605.07141). Sizes that the paper does not state are this project's own.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvplm.models.qwen3vl_seg.contracts import DecoderInput as DecoderInput
    from mvplm.models.qwen3vl_seg.contracts import DecoderOutput as DecoderOutput
    from mvplm.models.qwen3vl_seg.mask_decoder import BoxGuidedMaskDecoder as BoxGuidedMaskDecoder
    from mvplm.models.qwen3vl_seg.model import Qwen3VLSeg as Qwen3VLSeg
    from mvplm.models.qwen3vl_seg.parse import ParsedBoxes as ParsedBoxes
    from mvplm.models.qwen3vl_seg.parse import parse_boxes as parse_boxes
    from mvplm.models.qwen3vl_seg.settings import DecoderSettings as DecoderSettings

_HOMES = {
    "BoxGuidedMaskDecoder": "mask_decoder",
    "DecoderInput": "contracts",
    "DecoderOutput": "contracts",
    "DecoderSettings": "settings",
    "ParsedBoxes": "parse",
    "Qwen3VLSeg": "model",
    "parse_boxes": "parse",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mvplm.models.qwen3vl_seg.{_HOMES[name]}"), name)
    from mvplm.structures.choices import near_matches

    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}{near_matches(name, _HOMES)} (it has {', '.join(_HOMES)})"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
