"""Which weights are kept in half precision at inference.

Encoder, connector and language model hold nearly all weights and bear bfloat16 well. Pixel decoder, decoder and heads
compute coordinates and scores: they stay float32. Vectors (norms, biases, statistics) and whatever the network derives
itself stay float32 everywhere: they are small and decide most.
"""

import torch
from torch import Tensor

HALF_PARTS = ("encoder.", "connector.", "llm.")


def storage_dtype(name: str, value: Tensor, *, half: bool) -> torch.dtype:
    """The dtype in which the weight ``name`` is kept; ``half`` asks for bfloat16 where it does no harm."""
    if not value.is_floating_point():
        return value.dtype
    return torch.bfloat16 if half and value.ndim > 1 and name.startswith(HALF_PARTS) else torch.float32
