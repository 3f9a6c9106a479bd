"""One micro-batch through model and criterion, as a module that DDP and ``torch.compile`` can wrap."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Precision of autocast by the name of a precision; others run without."""


class TrainingStep(nn.Module):
    """model(batch) -> criterion(output, batch) -> unweighted named losses, in fp32.

    A batch of family "caption" has no perception output: its only loss is ``lm`` from ``model.caption_loss(batch)``.
    The model runs under bf16 or fp16 autocast when asked; its output is cast to fp32 before the criterion sees it.
    """

    def __init__(self, model: nn.Module, criterion: Callable[..., dict[str, Tensor]], *, precision: str) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.half = HALVES.get(precision)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Named scalar losses of a batch that is already on the model's device."""
        device_type = next(self.model.parameters()).device.type
        captions = batch.family == "caption"
        with torch.autocast(device_type, dtype=self.half, enabled=self.half is not None):
            output = self.model.caption_loss(batch) if captions else self.model(batch)
        if self.half is not None:
            output = to_float32(output)
        return {"lm": output} if captions else self.criterion(output, batch)


def to_float32(value: Any) -> Any:
    """The same nest of dataclasses, mappings and sequences with every 16-bit floating tensor cast to fp32."""
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: to_float32(getattr(value, f.name)) for f in fields(value) if f.init})
    if isinstance(value, Mapping):
        return {key: to_float32(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_float32(item) for item in value)
    return value
