"""A kernel becomes a torch operator, so that autograd, ``torch.compile`` and fake tensors know it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_SCHEMA = "Tensor value, int[] sides, Tensor locations, Tensor weights"


@dataclass(frozen=True)
class AttentionInputs:
    """What deformable attention is computed from; kernels trust these shapes.

    Attributes:
        value: (B, N, heads, dim). sides: h0, w0, h1, w1 ... of the L levels, with N cells in all.
        locations: (B, Q, heads, L, points, 2) float32. weights: (B, Q, heads, L, points) float32.

    Raises:
        ValueError: when they do not fit.
    """

    value: Tensor
    sides: list[int]
    locations: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        value, weights, places = (tuple(x.shape) for x in (self.value, self.weights, self.locations))
        if len(value) != 4 or len(weights) != 5:
            raise ValueError(
                f"the value must be (B, N, heads, dim), the weights (B, Q, heads, L, points): got {value} and {weights}"
            )
        shapes = list(zip(self.sides[::2], self.sides[1::2], strict=True))
        cells = sum(height * width for height, width in shapes)
        if cells != value[1]:
            raise ValueError(f"levels {shapes} have {cells} cells, the value has {value[1]}")
        if (value[0], value[2], len(shapes)) != (weights[0], weights[2], weights[3]):
            raise ValueError(f"the weights {weights} do not fit the value {value} and its {len(shapes)} levels")
        if places != (*weights, 2):
            raise ValueError(f"the locations must be {(*weights, 2)}, got {places}")

    @property
    def levels(self) -> int:
        """L."""
        return self.weights.shape[3]

    @property
    def points(self) -> int:
        """Sampling points per level."""
        return self.weights.shape[4]


def register_deformable_attention(
    name: str,
    *,
    forward: Callable[[AttentionInputs], Tensor],
    backward: Callable[[Tensor, AttentionInputs], list[Tensor]],
) -> None:
    """Make ``torch.ops.mvplm.<name>`` and its gradient, ``torch.ops.mvplm.<name>_backward``.

    The operator takes the four fields of :class:`AttentionInputs` and returns (B, Q, heads * dim) float32.

    Args:
        name: of the operator.
        forward: computes it.
        backward: gradients of value, locations and weights, from the gradient of the result.
    """
    operator = torch.library.custom_op(
        f"mvplm::{name}",
        lambda *given: forward(AttentionInputs(*given)),
        mutates_args=(),
        schema=f"({_SCHEMA}) -> Tensor",
    )
    gradient = torch.library.custom_op(
        f"mvplm::{name}_backward",
        lambda grad, *given: backward(grad, AttentionInputs(*given)),
        mutates_args=(),
        schema=f"(Tensor grad, {_SCHEMA}) -> Tensor[]",
    )

    @operator.register_fake
    def _(*given: Any) -> Tensor:
        inputs = AttentionInputs(*given)
        batch, queries, heads = inputs.weights.shape[:3]
        return inputs.value.new_empty((batch, queries, heads * inputs.value.shape[-1]), dtype=torch.float32)

    @gradient.register_fake
    def _(grad: Tensor, *given: Any) -> list[Tensor]:
        inputs = AttentionInputs(*given)
        return [x.new_empty(x.shape) for x in (inputs.value, inputs.locations, inputs.weights)]

    def remember(ctx: Any, inputs: tuple[Any, ...], *, output: Tensor) -> None:
        value, ctx.sides, locations, weights = inputs
        ctx.save_for_backward(value, locations, weights)

    def differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        value, locations, weights = ctx.saved_tensors
        of_value, of_locations, of_weights = gradient(grad, value, ctx.sides, locations, weights)
        return of_value, None, of_locations, of_weights

    operator.register_autograd(differentiate, setup_context=remember)
