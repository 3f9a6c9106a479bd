"""Foreign checkpoints: pure functions from their tensors to the library's, one small file per kind of source."""

from mvplm.models.convert.detect import EncoderFile, find_encoder
from mvplm.models.convert.files import Checkpoint, read_checkpoint, read_config, weight_files
from mvplm.models.convert.mask2former_d2 import MASK2FORMER_D2
from mvplm.models.convert.mask2former_hf import MASK2FORMER_HF
from mvplm.models.convert.maskdino import MASKDINO
from mvplm.models.convert.openseed import OPENSEED
from mvplm.models.convert.phi import PHI
from mvplm.models.convert.release import MVPLM_RELEASE
from mvplm.models.convert.report import Converted, LoadSummary
from mvplm.models.convert.sizes import infer_settings
from mvplm.models.convert.source import Options, Source, Strictness, convert
from mvplm.models.convert.swin_hf import SWIN_HF
from mvplm.models.convert.swin_timm import SWIN_TIMM
from mvplm.models.convert.timm_encoder import timm_encoder_tensors

_ALL = (MASK2FORMER_HF, MASK2FORMER_D2, OPENSEED, MASKDINO, MVPLM_RELEASE, SWIN_TIMM, SWIN_HF)
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""Kinds of files the command ``mvplm convert`` knows, by name."""

__all__ = [
    "PHI",
    "SOURCES",
    "Checkpoint",
    "Converted",
    "EncoderFile",
    "LoadSummary",
    "Options",
    "Source",
    "Strictness",
    "convert",
    "find_encoder",
    "infer_settings",
    "read_checkpoint",
    "read_config",
    "timm_encoder_tensors",
    "weight_files",
]
