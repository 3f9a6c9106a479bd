"""Swin files named like timm's, like the original release's (the detectron2 family's), or in mm style.

The three are told apart by how their patch mergings are named and laid out.
"""

from mvplm.models.convert.rules import Rule
from mvplm.models.convert.source import Options, Source, Tensors
from mvplm.models.convert.swin import identity_norms, swin_rules


def _rules(tensors: Tensors, options: Options) -> list[Rule]:
    return swin_rules(tensors, prefix=r"(?:backbone\.)?")


SWIN_TIMM = Source(
    "swin-timm",
    "a Swin of timm, of the original release, or in mm style",
    covers=("encoder",),
    rules=_rules,
    fills=identity_norms,
)
"""The encoder from a Swin of timm or of the original release."""
