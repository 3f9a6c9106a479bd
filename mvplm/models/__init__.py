"""Models: networks built from ready modules and plain values. A name is loaded when it is first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mvplm.models.connector import Connector as Connector
    from mvplm.models.decoder import Decoder as Decoder
    from mvplm.models.geometry import LevelGeometry as LevelGeometry
    from mvplm.models.heads import BoxHead as BoxHead
    from mvplm.models.heads import Heads as Heads
    from mvplm.models.language import LanguageModel as LanguageModel
    from mvplm.models.mvplm import MVPLM as MVPLM
    from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention as MultiScaleDeformableAttention
    from mvplm.models.pixel_decoder import PixelDecoder as PixelDecoder
    from mvplm.models.vision import SwinEncoder as SwinEncoder
    from mvplm.models.vision import TimmEncoder as TimmEncoder

_HOMES = {
    "BoxHead": "heads",
    "Connector": "connector",
    "Decoder": "decoder",
    "Heads": "heads",
    "LanguageModel": "language",
    "LevelGeometry": "geometry",
    "MVPLM": "mvplm",
    "MultiScaleDeformableAttention": "ops.deform_attn",
    "PixelDecoder": "pixel_decoder",
    "SwinEncoder": "vision",
    "TimmEncoder": "vision",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"mvplm.models.{_HOMES[name]}"), name)
    from mvplm.structures.choices import near_matches

    raise AttributeError(
        f"module 'mvplm.models' has no attribute {name!r}{near_matches(name, _HOMES)} (it has {', '.join(_HOMES)})"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
