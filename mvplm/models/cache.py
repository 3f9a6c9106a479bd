"""Key-value cache that grows without copying what it holds at every step."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SLACK = 0.5


class GrowingLayer(DynamicLayer):
    """As transformers' ``DynamicLayer``, with room for half as much again whenever it has to move.

    Keys and values are views of that room; what was returned before is not changed. For inference, without gradients.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rooms: list[Tensor] = []
        self._returned: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append (B, heads, n, dim) keys and values; returns all of them."""
        if self.get_seq_length() == 0:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values, self._returned = key_states, value_states, None
            return self.keys, self.values
        before, after = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        held = self._returned is not None and self.keys is self._returned[0] and self.values is self._returned[1]
        if not held or after > self._rooms[0].shape[-2]:
            self._rooms = [_moved(self.keys, after), _moved(self.values, after)]
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[..., before:after, :] = states
        self.keys, self.values = (room[..., :after, :] for room in self._rooms)
        self._returned = self.keys, self.values
        return self._returned


def make_cache(config: Any) -> DynamicCache:
    """An empty cache for a transformers configuration; layers of other kinds, as with sliding windows, stay theirs."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = GrowingLayer
    return cache


def _moved(states: Tensor, least: int) -> Tensor:
    """Room for ``least`` positions and some more, beginning with the given states."""
    length = states.shape[-2]
    room = torch.empty(
        (*states.shape[:-2], int(least * (1 + _SLACK)), states.shape[-1]), dtype=states.dtype, device=states.device
    )
    room[..., :length, :] = states
    return room
