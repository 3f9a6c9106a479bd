"""AdamW whose weight matrices may follow orthogonalised momentum instead (Muon).

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the size of a step as in Liu et
al., "Muon is scalable for LLM training" (2025), so that rate and decay of AdamW fit both.
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

_MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.775, 2.0315)
_ROUNDS = 5
_RMS = 0.2


class Muon(torch.optim.AdamW):
    """AdamW for every group without ``"matrices": True``; those with it hold matrices of hidden layers.

    A kernel of a convolution counts as a matrix with a row for each output channel.

    ``torch.optim.Muon`` orthogonalises in bf16, which processors without it emulate some fifty times slower, and one
    matrix at a time; here matrices of one shape go through together in fp32.

    A step uses up the gradients of the matrices.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step. ``closure`` is not supported."""
        if closure is not None:
            raise ValueError("Muon takes no closure")
        for group in self.param_groups:
            if group.get("matrices"):
                self._step_matrices(group)
        super().step()

    def _step_matrices(self, group: dict[str, Any]) -> None:
        alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in group["params"]:
            if matrix.grad is not None:
                alike[matrix.shape].append(matrix)
        for shape, matrices in alike.items():
            updates = orthogonalised(torch.stack([self._momentum(matrix).flatten(1) for matrix in matrices]))
            size = group["lr"] * _RMS * max(updates.shape[1:]) ** 0.5
            for matrix, update in zip(matrices, updates, strict=True):
                matrix.mul_(1 - group["lr"] * group["weight_decay"]).add_(
                    update.reshape(shape).to(matrix.dtype), alpha=-size
                )
                # AdamW passes over what has no gradient.
                matrix.grad = None

    def _momentum(self, matrix: Tensor) -> Tensor:
        """Nesterov momentum of a matrix, fp32."""
        gradient, state = matrix.grad.float(), self.state[matrix]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return gradient.lerp(momentum, _MOMENTUM)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Matrices (N, A, B) with singular values moved near 1 (0.7 to 1.2) by Newton-Schulz rounds; zeros stay zero."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
