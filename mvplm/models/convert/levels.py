"""Feature levels inside deformable attention's parameters: their order and their number.

Rows of the offset and weight layers are (heads, levels, points, ...): exact surgery on the second axis.
Source: Deformable-DETR (layout and start values), Mask DINO ("low2high" and "high2low").
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mvplm.models.convert.rules import Rule, alter, rename
from mvplm.models.ops.deform_attn import MultiScaleDeformableAttention

FEATURE_ORDERS = ("low2high", "high2low")
_LAYERS = r"(sampling_offsets|attention_weights)\.(weight|bias)"


def reorder_levels(rows: Tensor, order: Sequence[int], *, heads: int) -> Tensor:
    """Offset or weight rows (heads * L * n, ...) with level ``order[i]`` at place i.

    Attention gives the same output when tokens, shapes and references are put into that order too.
    """
    return rows.unflatten(0, (heads, len(order), -1))[:, list(order)].flatten(0, 2)


def reverse_levels(rows: Tensor, levels: int, *, heads: int) -> Tensor:
    """Offset or weight rows (heads * L * n, ...) for levels in the opposite order."""
    return reorder_levels(rows, range(levels)[::-1], heads=heads)


def append_level(rows: Tensor, levels: int, *, heads: int, start: Tensor | None = None) -> Tensor:
    """Rows (heads * L * n, ...) with one more level, L + 1, after the others.

    Args:
        rows: of ``levels`` levels.
        levels: L. heads: attention heads.
        start: rows of a fresh layer with L + 1 levels that the new level takes its values from; None: zeros.
    """
    old = rows.unflatten(0, (heads, levels, -1))
    if start is None:
        added = torch.zeros_like(old[:, :1])
    else:
        added = start.to(rows).unflatten(0, (heads, levels + 1, -1))[:, -1:]
    return torch.cat([old, added], dim=1).flatten(0, 2)


def start_offsets(levels: int, *, heads: int, points: int) -> Tensor:
    """Bias (heads * levels * points * 2,) of a fresh offset layer: every head looks along a direction of its own."""
    return MultiScaleDeformableAttention(
        heads, levels=levels, heads=heads, points=points
    ).sampling_offsets.bias.detach()


def attention_rules(prefix: str, target: str, *, order: Sequence[int] | None, heads: int) -> list[Rule]:
    """Rules for the two level-dependent layers of the deformable attention of every layer of a stack.

    Args:
        prefix: pattern before the attention's own names; its one group is the layer's number.
        target: library name before them, ``\\1`` standing for the number.
        order: see :func:`reorder_levels`; None keeps the order.
        heads: attention heads.
    """
    if order is None:
        return [rename(prefix + _LAYERS, target + r"\2.\3")]
    return [
        alter(
            prefix + _LAYERS,
            target + r"\2.\3",
            change=lambda rows: reorder_levels(rows, order, heads=heads),
            why="levels put into fine-to-coarse order",
        )
    ]
