"""Swin weights of every origin as those of ``SwinEncoder``.

Three dialects: the original one (Swin release, detectron2 family), timm's (mergings counted one stage later) and that
of mm-style files (mergings unfolded in another order). What is computed (position indices, masks) is never read.
Source: Swin Transformer.
"""

import re
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mvplm.models.convert.rules import Rule, alter, drop, rename, split
from mvplm.models.convert.source import Fills, Options, Tensors

SWIN = "encoder.backbone.swin."
NORMS = "encoder.backbone.hidden_states_norms."
_BLOCK = SWIN + r"encoder.layers.\1.blocks.\2."
_ENDS = r"(weight|bias)"
_STAGES = 4


def identity_norms(options: Options) -> Fills:
    """Output norms of a backbone that was trained for classification: they scale by one."""
    names = r"encoder\.backbone\.hidden_states_norms\..*"
    why = "the file has no output norms"
    return {names + "weight": (torch.ones_like, f"1: {why}"), names + "bias": (torch.zeros_like, f"0: {why}")}


def dialect_of(names: Iterable[str]) -> str:
    """ "timm", "original" or "mm", from how the mergings are named.

    Raises:
        ValueError: none of the three.
    """
    marks = {
        "mm": r"stages\.0\.downsample\.",
        "original": r"layers[._]0\.downsample\.",
        "timm": r"layers[._]3\.downsample\.",
    }
    found = {dialect for name in names for dialect, mark in marks.items() if re.search(rf"(^|\.){mark}", name)}
    if not found:
        raise ValueError(
            "no Swin: none of stages.0.downsample (mm-style), layers.0.downsample (original) and layers.3.downsample "
            "(timm) is among the names"
        )
    return next(dialect for dialect in marks if dialect in found)


def swin_rules(tensors: Tensors, *, prefix: str = "") -> list[Rule]:
    """Rules for a Swin of whatever dialect whose names begin with the pattern ``prefix`` (without groups)."""
    dialect = dialect_of(tensors)
    return _mm_rules(prefix) if dialect == "mm" else _family_rules(prefix, shift=int(dialect == "timm"))


def thirds(tensor: Tensor) -> Sequence[Tensor]:
    """Query, key and value rows of a fused projection (3 D, ...)."""
    return tensor.chunk(3)


def _qkv(pattern: str) -> Rule:
    targets = [f"{_BLOCK}attention.{part}_proj.\\3" for part in "qkv"]
    return split(pattern, targets, change=thirds, why="query, key and value taken apart")


def _family_rules(prefix: str, *, shift: int) -> list[Rule]:
    block = prefix + r"layers[._](\d+)\.blocks\.(\d+)\."
    mergings = [
        rename(
            rf"{prefix}layers[._]{stage + shift}\.downsample\.(norm|reduction)\.{_ENDS}",
            rf"{SWIN}encoder.layers.{stage}.downsample.\1.\2",
        )
        for stage in range(_STAGES - 1)
    ]
    return [
        rename(rf"{prefix}patch_embed\.proj\.{_ENDS}", SWIN + r"embeddings.patch_embeddings.projection.\1"),
        rename(rf"{prefix}patch_embed\.norm\.{_ENDS}", SWIN + r"embeddings.norm.\1"),
        rename(rf"{block}norm1\.{_ENDS}", _BLOCK + r"layernorm_before.\3"),
        rename(rf"{block}norm2\.{_ENDS}", _BLOCK + r"layernorm_after.\3"),
        _qkv(rf"{block}attn\.qkv\.{_ENDS}"),
        rename(rf"{block}attn\.proj\.{_ENDS}", _BLOCK + r"attention.o_proj.\3"),
        _table(rf"{block}attn\."),
        rename(rf"{block}mlp\.(fc1|fc2)\.{_ENDS}", _BLOCK + r"mlp.\3.\4"),
        *mergings,
        *_output_norms(prefix + r"norm"),
        *_computed(prefix),
        drop(rf"{prefix}(norm|head|head\.fc)\.{_ENDS}", "classification head"),
    ]


def _mm_rules(prefix: str) -> list[Rule]:
    block = prefix + r"stages\.(\d+)\.blocks\.(\d+)\."
    merging = SWIN + r"encoder.layers.\1.downsample."
    why = "merged neighbours put into this library's order"
    return [
        rename(rf"{prefix}patch_embed\.projection\.{_ENDS}", SWIN + r"embeddings.patch_embeddings.projection.\1"),
        rename(rf"{prefix}patch_embed\.norm\.{_ENDS}", SWIN + r"embeddings.norm.\1"),
        rename(rf"{block}norm1\.{_ENDS}", _BLOCK + r"layernorm_before.\3"),
        rename(rf"{block}norm2\.{_ENDS}", _BLOCK + r"layernorm_after.\3"),
        _qkv(rf"{block}attn\.w_msa\.qkv\.{_ENDS}"),
        rename(rf"{block}attn\.w_msa\.proj\.{_ENDS}", _BLOCK + r"attention.o_proj.\3"),
        _table(rf"{block}attn\.w_msa\."),
        rename(rf"{block}ffn\.layers\.0\.0\.{_ENDS}", _BLOCK + r"mlp.fc1.\3"),
        rename(rf"{block}ffn\.layers\.1\.{_ENDS}", _BLOCK + r"mlp.fc2.\3"),
        alter(
            rf"{prefix}stages\.(\d+)\.downsample\.(norm|reduction)\.{_ENDS}", merging + r"\2.\3", change=folded, why=why
        ),
        *_output_norms(prefix + r"norm"),
        *_computed(prefix),
        drop(rf"{prefix}head\..*", "classification head"),
    ]


def folded(tensor: Tensor) -> Tensor:
    """Merging parameters (..., C * 4), unfolded channel by channel, as (..., 4 * C), neighbour by neighbour.

    The neighbours of the first are (row, column) 00, 01, 10, 11; here they are 00, 10, 01, 11.
    """
    return tensor.unflatten(-1, (-1, 4))[..., [0, 2, 1, 3]].transpose(-1, -2).flatten(-2)


def _table(attention: str) -> Rule:
    return rename(
        attention + "relative_position_bias_table",
        _BLOCK + "attention.relative_position_bias.relative_position_bias_table",
    )


def _output_norms(pattern: str) -> list[Rule]:
    return [rename(rf"{pattern}{i}\.{_ENDS}", rf"{NORMS}stage{i + 1}.\1") for i in range(_STAGES)]


def _computed(prefix: str) -> list[Rule]:
    return [drop(rf"{prefix}.*\.(relative_position_index|attn_mask)", "computed from the sizes")]
