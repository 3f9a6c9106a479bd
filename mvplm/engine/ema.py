"""Exponential moving average of the weights."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mvplm.engine.weights import unique_state


class WeightAverage:
    """Moving average of a model's trainable parameters; buffers and frozen parameters are taken as they are.

    The decay warms up as min(decay, (1 + updates) / (10 + updates)), so that short runs forget their random start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the present weights of ``model`` (kept by reference, never changed by ``update``)."""
        self.decay = decay
        self._model = model
        self._names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._average = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after optimiser step number ``step`` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._average, [parameter.detach() for parameter in self._parameters], 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """A complete state dict of the model with the averaged values in place, one name per tensor."""
        averaged = dict(zip(self._names, self._average, strict=True))
        return {name: averaged.get(name, value) for name, value in unique_state(self._model).items()}

    @torch.no_grad()
    def load_state_dict(
        self, state: Mapping[str, Tensor], *, place: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        """Take the averaged values from a complete state dict; ``place`` as in ``load_weights``.

        Raises:
            ValueError: names of averaged parameters are missing.
        """
        missing = [name for name in self._names if name not in state]
        if missing:
            raise ValueError(f"the averaged weights lack {len(missing)} names, e.g. {missing[:3]}")
        for name, average in zip(self._names, self._average, strict=True):
            average.copy_(state[name] if place is None else place(state[name], average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model computes with the averaged weights; afterwards with its own, bit by bit."""
        originals = [parameter.data for parameter in self._parameters]
        try:
            for parameter, average in zip(self._parameters, self._average, strict=True):
                parameter.data = average
            yield
        finally:
            for parameter, original in zip(self._parameters, originals, strict=True):
                parameter.data = original
