"""Where tokens look: the attention of one layer of a running model."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_REMEMBERS, _FAST = "mvplm_remembers", "sdpa"


@dataclass(frozen=True)
class Looks:
    """What an attention layer was given.

    Attributes:
        query: (B, heads, T, C). key: (B, groups, T, C). mask: (B, 1, T, T), bool or added to scores; None: causal.
        scaling: of scores.
    """

    query: Tensor
    key: Tensor
    mask: Tensor | None
    scaling: float

    @property
    def half(self) -> int:
        """Half of the heads, at least one."""
        return max(1, self.query.shape[1] // 2)

    def log_weights(self, last: int, *, heads: int) -> Tensor:
        """Logarithms of the attention (B, heads, last, T) of the ``last`` tokens, in the first ``heads`` heads."""
        groups = self.query.shape[1] // self.key.shape[1]
        query = self.query[:, :heads, -last:].float()
        key = self.key.repeat_interleave(groups, 1)[:, :heads].float()
        scores = self.scaling * query @ key.transpose(2, 3)
        if self.mask is None:
            length = scores.shape[-1]
            later = torch.ones(length, length, dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(later[-last:], -torch.inf)
        elif self.mask.dtype == torch.bool:
            scores = scores.masked_fill(~self.mask[:, :, -last:], -torch.inf)
        else:
            scores = scores + self.mask[:, :, -last:].float()
        return scores.log_softmax(-1)


@contextmanager
def remembered(layer: Any) -> Iterator[list[Looks]]:
    """What the attention of a decoder layer of transformers is given meanwhile; gives a list that gets it.

    Args:
        layer: with ``self_attn``, which finds its attention function by its configuration.
    """
    _register()
    attention = layer.self_attn
    found: list[Looks] = []
    before, attention.config = attention.config, copy.copy(attention.config)
    attention.config._attn_implementation = _REMEMBERS  # noqa: SLF001 - transformers has no other way for one layer
    attention.remembered = found
    try:
        yield found
    finally:
        attention.config = before
        del attention.remembered


def _register() -> None:
    from transformers import AttentionInterface

    if _REMEMBERS not in AttentionInterface():
        AttentionInterface.register(_REMEMBERS, _attend)


def _attend(module: nn.Module, *given: Any, **options: Any) -> Any:
    from transformers import AttentionInterface

    query, key, _, mask = given
    scaling = options.get("scaling")
    size = query.shape[-1] ** -0.5 if scaling is None else float(scaling)
    whole: Any = module
    whole.remembered.append(Looks(query, key, mask, size))
    return AttentionInterface()[_FAST](module, *given, **options)
