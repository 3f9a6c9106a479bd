"""Remembering what frozen parts computed, by content: the same pixels or words give the same answer again."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Tensors = tuple[Tensor, ...]


class Memo:
    """Tensors by content, the least recently used ones forgotten beyond a budget.

    Values are kept on the CPU in ``dtype`` and handed out as they were kept, so that an answer does not depend on
    whether it was remembered or just computed.

    Args:
        budget: bytes kept.
        dtype: floating type that is kept.
    """

    def __init__(self, budget: int, *, dtype: torch.dtype = torch.float32) -> None:
        self.budget = budget
        self.dtype = dtype
        self.size = 0
        self._kept: OrderedDict[bytes, Tensors] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def __getstate__(self) -> dict[str, object]:
        """A copy of the owner (for averaging, saving or another process) starts with an empty memory."""
        return {"budget": self.budget, "dtype": self.dtype, "size": 0, "_kept": OrderedDict()}

    def rows(self, keys: Sequence[bytes], compute: Callable[[list[int]], Sequence[Tensors]]) -> list[Tensors]:
        """The tensors of every key.

        Args:
            keys: R keys, see :func:`content_key`; equal ones share one answer.
            compute: called once with the places of the keys that are not known, one place per different key; gives
                the tensors of each.
        """
        missing = {key: place for place, key in reversed(list(enumerate(keys))) if key not in self._kept}
        fresh: dict[bytes, Tensors] = {}
        if missing:
            places = sorted(missing.values())
            for place, tensors in zip(places, compute(places), strict=True):
                fresh[keys[place]] = tuple(tensor.to("cpu", self.dtype, copy=True) for tensor in tensors)
        found = []
        for key in keys:
            if key in self._kept:
                self._kept.move_to_end(key)
            found.append(self._kept[key] if key in self._kept else fresh[key])
        for key, tensors in fresh.items():
            self._keep(key, tensors)
        return found

    def _keep(self, key: bytes, tensors: Tensors) -> None:
        self._kept[key] = tensors
        self.size += _bytes(tensors)
        while self.size > self.budget and self._kept:
            self.size -= _bytes(self._kept.popitem(last=False)[1])


def content_key(*tensors: Tensor) -> bytes:
    """Digest of shapes, types and values; tensors on another device are read back to the host."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()


def weights_version(module: nn.Module) -> bytes:
    """Part of a key that changes with every change of a module's weights."""
    states = [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in module.parameters()]
    return hashlib.blake2b(repr(states).encode(), digest_size=16).digest()


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
