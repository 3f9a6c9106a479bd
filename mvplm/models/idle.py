"""Parameters a batch does not use still enter the loss, as an exact zero, so that data-parallel wrappers see them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def exact_zero(parts: Iterable[nn.Module | nn.Parameter | None]) -> Tensor:
    """Scalar 0 that depends on every trainable parameter of ``parts`` (None entries are skipped)."""
    terms = []
    for part in parts:
        parameters = part.parameters() if isinstance(part, nn.Module) else [part]
        terms += [p.sum() * 0.0 for p in parameters if p is not None and p.requires_grad]
    return torch.stack(terms).sum() if terms else torch.zeros(())
