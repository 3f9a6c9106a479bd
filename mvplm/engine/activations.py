"""Activation checkpointing: modules forget what they computed and compute it again in the backward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint


def checkpoint_activations(modules: list[nn.Module]) -> None:
    """Let modules keep their inputs alone until the backward pass (in place; values and gradients stay the same).

    Outside of training, where no gradient is wanted, nothing changes.
    """
    for module in modules:
        module.forward = partial(_recomputed, module.forward, module)


def _recomputed(forward: Callable[..., Any], module: nn.Module, *arguments: Any, **options: Any) -> Any:
    if not module.training:
        return forward(*arguments, **options)
    return checkpoint(forward, *arguments, use_reentrant=False, **options)
