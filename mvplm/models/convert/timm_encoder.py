"""Encoders of timm from files of whole classifiers: timm's own names, or those of the EfficientNet-PyTorch package.

What only serves classification is left out.
"""

import re
from collections.abc import Iterable

from torch import Tensor

from mvplm.models.convert.source import Tensors

_PREFIX = "backbone."
_HEAD = re.compile(r"(conv_head|bn2|classifier|head|fc|norm|global_pool)\..*")
_BLOCK = re.compile(r"_blocks\.(\d+)\._(\w+)\.(\w+)")
_FRAME = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
# The layers of a block in the order in which it applies them; the first block of a network does not expand.
_PLAIN = {"depthwise_conv": "conv_dw", "bn1": "bn1", "project_conv": "conv_pw", "bn2": "bn2"}
_EXPANDING = {
    "expand_conv": "conv_pw",
    "bn0": "bn1",
    "depthwise_conv": "conv_dw",
    "bn1": "bn2",
    "project_conv": "conv_pwl",
    "bn2": "bn3",
}


def timm_encoder_tensors(tensors: Tensors, own: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a file under the names of a timm encoder; names nobody knows are kept as they are.

    Args:
        tensors: of a whole classifier, by the file's names.
        own: names of the encoder's state.

    Raises:
        ValueError: a file of EfficientNet-PyTorch with another number of blocks.
    """
    wanted = set(own)
    named = dict(tensors)
    if any(name.startswith("_conv_stem.") for name in tensors):
        named = _from_efficientnet_pytorch(tensors, wanted)
    found = {f"{_PREFIX}{name.removeprefix(_PREFIX)}": tensor for name, tensor in named.items()}
    return {
        name: tensor
        for name, tensor in found.items()
        if name in wanted or not _HEAD.fullmatch(name.removeprefix(_PREFIX))
    }


def _from_efficientnet_pytorch(tensors: Tensors, own: set[str]) -> dict[str, Tensor]:
    places = sorted(
        {(int(m[1]), int(m[2])) for name in own if (m := re.match(rf"{_PREFIX}blocks\.(\d+)\.(\d+)\.", name))}
    )
    count = 1 + max(int(m[1]) for name in tensors if (m := _BLOCK.fullmatch(name)))
    if count != len(places):
        raise ValueError(f"the file has {count} blocks, the encoder {len(places)}")
    renamed = {}
    for name, tensor in tensors.items():
        if (match := _BLOCK.fullmatch(name)) is None:
            part, _, end = name.partition(".")
            renamed[f"{_FRAME.get(part, part)}.{end}"] = tensor
            continue
        block, layer, end = match.groups()
        layers = _EXPANDING if f"_blocks.{block}._expand_conv.weight" in tensors else _PLAIN
        stage, place = places[int(block)]
        renamed[f"blocks.{stage}.{place}.{layers.get(layer, layer)}.{end}"] = tensor
    return renamed
