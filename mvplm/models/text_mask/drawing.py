"""A language model from scratch learns to draw: tokens say what is painted on a canvas before it is written."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, rms_norm

from mvplm.structures.processes import mean_over_processes


class DrawingHints(nn.Module):
    """Says sketches, what is painted on the canvas of an object, in linear layers that only training needs.

    The bricks of a row follow from what is seen, from where in its box the row lies, and from which row it is: more
    than a few layers find by themselves. Here each part is told: the sketch, which row is written, and what is painted
    there.
    Source: ours.

    Args:
        width: of states. canvas: (h, w) cells. rows: say rows, too, as answers need.
    """

    def __init__(self, width: int, *, canvas: tuple[int, int], rows: bool = True) -> None:
        super().__init__()
        self.canvas = canvas
        self.sketch = nn.Linear(width, canvas[0] * canvas[1])
        if rows:
            self.number = nn.Linear(width, canvas[0])
            self.row = nn.Linear(width, canvas[1])

    def sketched(self, states: Tensor, sketches: Tensor) -> Tensor:
        """Loss of the sketches (N, h * w), bool, in states (N, C): mean over objects of what a row adds up to."""
        return _painted(self.sketch(_even(states)), sketches) / self.canvas[0]

    def numbered(self, states: Tensor, numbers: Tensor) -> Tensor:
        """Mean cross-entropy of the numbers (N,) int64 of rows in states (N, C)."""
        loss = cross_entropy(self.number(_even(states)).float(), numbers, reduction="sum")
        return loss / _mean_count(numbers)

    def painted(self, states: Tensor, rows: Tensor) -> Tensor:
        """Loss of the rows (N, w), bool, that are written, in states (N, C)."""
        return _painted(self.row(_even(states)), rows)


def _even(states: Tensor) -> Tensor:
    return rms_norm(states, states.shape[-1:])


def _painted(scores: Tensor, painted: Tensor) -> Tensor:
    """Binary cross-entropy of (N, K), summed over K, mean over N of all processes."""
    loss = binary_cross_entropy_with_logits(scores.float(), painted.float(), reduction="sum")
    return loss / _mean_count(painted)


def _mean_count(found: Tensor) -> Tensor:
    return mean_over_processes(torch.tensor(float(len(found)), device=found.device)).clamp(min=1)
