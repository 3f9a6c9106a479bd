"""Which kind of Swin a file holds, for those who only want its encoder."""

from dataclasses import dataclass

from torch import Tensor

from mvplm.models.convert.source import Source, Tensors
from mvplm.models.convert.swin_hf import SWIN_HF
from mvplm.models.convert.swin_timm import SWIN_TIMM

_INSIDE = ("model.pixel_level_module.encoder.", "pixel_level_module.encoder.", "model.backbone.", "backbone.")
_MARK = "patch_embeddings.projection.weight"


@dataclass(frozen=True)
class EncoderFile:
    """Tensors of an encoder alone and how to read them."""

    source: Source
    tensors: dict[str, Tensor]


def find_encoder(tensors: Tensors) -> EncoderFile:
    """The Swin in a file: the file itself, or the backbone of a segmentation model.

    Args:
        tensors: by the file's names.
    """
    prefix = next((p for p in _INSIDE if any(name.startswith(p) for name in tensors)), "")
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return EncoderFile(SWIN_HF if any(name.endswith(_MARK) for name in own) else SWIN_TIMM, own)
