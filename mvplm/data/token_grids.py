"""How the visual tokens of a picture stand: in rows over it, each with a cell of its own."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

LEAST_SHARE = 0.125
"""What covers less of a cell is not shown by its token."""
HALF = 0.5
"""What covers as much of a quarter of a cell is there."""


@dataclass(frozen=True)
class TokenGrids:
    """Finds the grids of a model's visual tokens.

    Attributes:
        image_id: of visual tokens in ``input_ids``. merge: patches a side that make one of them.
    """

    image_id: int
    merge: int

    @classmethod
    def of(cls, settings: Any) -> "TokenGrids":
        """Those of a model with the configuration ``settings``."""
        return cls(int(settings.image_token_id), int(getattr(settings.vision_config, "spatial_merge_size", 1)))

    def __call__(self, inputs: dict[str, Tensor]) -> list[tuple[int, int]]:
        """Rows and columns of the visual tokens of B pictures, in a model's arguments.

        Raises:
            ValueError: the visual tokens of a picture are not known to form a grid.
        """
        tokens = (inputs["input_ids"] == self.image_id).sum(1).tolist()
        if "image_grid_thw" in inputs:
            sides = inputs["image_grid_thw"].tolist()
            grids = [(int(height) // self.merge, int(width) // self.merge) for _, height, width in sides]
        else:
            grids = [(round(count**0.5), round(count**0.5)) for count in tokens]
        if [height * width for height, width in grids] != tokens:
            raise ValueError(f"visual tokens form no grid: there are {tokens}, grids of {grids} were expected")
        return grids


def quarter_shares(masks: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much of every quarter of every cell N masks (N, H, W) bool cover, (N, cells, 4) float32.

    Cells and their quarters row by row.
    """
    rows, columns = grid
    if not len(masks):
        return torch.zeros(0, rows * columns, 4)
    shares = adaptive_avg_pool2d(masks.float(), (2 * rows, 2 * columns))
    return shares.unflatten(1, (rows, 2)).unflatten(3, (columns, 2)).transpose(2, 3).reshape(len(masks), -1, 4)


def owners(shares: Tensor) -> Tensor:
    """Which of N objects covers most of each cell, from 1; 0: none covers enough. Shares of quarters: (N, cells, 4)."""
    return torch.cat([torch.full((1, shares.shape[1]), LEAST_SHARE), shares.mean(2)]).argmax(0)
