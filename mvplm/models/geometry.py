"""Where the tokens of a feature pyramid lie: valid cells, references and proposals, from host integers alone.

Padding is at the right and the bottom. The *valid frame* is the un-padded image: (0, 0) to (1, 1) is its area. Boxes
are fractions of it, or of the whole padded frame where a model is told so.
Source: Deformable-DETR (references, proposals); the valid ratio is exact and equal on all levels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvplm.structures.choices import check_choice

ANCHOR_SCALES = ("fine_small", "coarse_small")
_SMALLEST_ANCHOR = 0.05
_MARGIN = 0.01
_FALLBACK = (0.5, 0.5, 0.99, 0.99)


@dataclass
class Proposals:
    """One box per memory token, before any prediction.

    Attributes:
        logits: (B, M, 4) float32, logit of the CXCYWH_NORM box in the valid frame; finite everywhere.
        valid: (B, M) bool, False on padding and where a number of the box leaves (0.01, 0.99).
    """

    logits: Tensor
    valid: Tensor


@dataclass(frozen=True)
class LevelGeometry:
    """Sizes of a batch's feature levels, fine to coarse. Everything is an integer on the host.

    Attributes:
        shapes: (h, w) of each level.
        strides: pixels per cell of each level.
        frame: (H, W) padded input size in pixels.
        valid_sizes: B pairs (h, w) of un-padded pixels.
        box_sizes: B pairs (h, w) that boxes and references are fractions of; None: the valid sizes.

    Raises:
        ValueError: when shapes and strides do not belong together or a valid size is not inside the frame.
    """

    shapes: list[tuple[int, int]]
    strides: list[int]
    frame: tuple[int, int]
    valid_sizes: list[tuple[int, int]]
    box_sizes: list[tuple[int, int]] | None = None

    def __post_init__(self) -> None:
        if len(self.shapes) != len(self.strides):
            raise ValueError(f"{len(self.shapes)} level shapes need as many strides, got {self.strides}")
        for height, width in self.valid_sizes:
            if not (0 < height <= self.frame[0] and 0 < width <= self.frame[1]):
                raise ValueError(f"valid size {(height, width)} is not inside the frame {self.frame}")

    @property
    def num_tokens(self) -> int:
        """M, tokens over all levels."""
        return sum(height * width for height, width in self.shapes)

    @property
    def full(self) -> bool:
        """True when no image of the batch has padding."""
        return all(tuple(size) == tuple(self.frame) for size in self.valid_sizes)

    def select(self, rows: Sequence[int]) -> "LevelGeometry":
        """The geometry of the given images, in that order; an image may be repeated."""
        boxes = None if self.box_sizes is None else [self.box_sizes[row] for row in rows]
        return replace(self, valid_sizes=[self.valid_sizes[row] for row in rows], box_sizes=boxes)

    def valid_cells(self, device: torch.device | str) -> Tensor:
        """(B, M) bool, True where a cell contains at least one pixel of the image."""
        return (self._places(device) < _xy(self.valid_sizes, device)).all(-1)

    def valid_ratios(self, device: torch.device | str) -> Tensor:
        """(B, 2) float32, share (w, h) of the padded frame that boxes are fractions of."""
        height, width = self.frame
        return torch.tensor([[w / width, h / height] for h, w in self.box_sizes or self.valid_sizes], device=device)

    def encoder_references(self, device: torch.device | str) -> Tensor:
        """(B, M, 2) float32 cell centres (x, y) in the frame of the boxes; above 1 outside of it."""
        return self._places(device, offset=0.5) / _xy(self.box_sizes or self.valid_sizes, device)

    def proposals(self, anchor_scale: str, *, device: torch.device | str) -> Proposals:
        """A square-in-fractions box around every cell centre; its side doubles from level to level.

        Args:
            anchor_scale: "fine_small" (0.05 on the finest level) or "coarse_small" (0.05 on the coarsest).
            device: where to build.

        Raises:
            ValueError: for another anchor scale.
        """
        check_choice("anchor scale", anchor_scale, choices=ANCHOR_SCALES)
        centres = self.encoder_references(device)
        sides = [_SMALLEST_ANCHOR * 2.0**level for level in range(len(self.shapes))]
        if anchor_scale == "coarse_small":
            sides.reverse()
        levels = zip(self.shapes, sides, strict=True)
        side = torch.cat([torch.full((h * w, 2), value, device=device) for (h, w), value in levels])
        boxes = torch.cat([centres, side.expand(len(centres), -1, -1)], dim=-1)
        valid = ((boxes > _MARGIN) & (boxes < 1 - _MARGIN)).all(-1) & self.valid_cells(device)
        boxes = torch.where(valid[..., None], boxes, torch.tensor(_FALLBACK, device=device))
        return Proposals(torch.logit(boxes), valid)

    def _places(self, device: torch.device | str, offset: float = 0.0) -> Tensor:
        """(M, 2) float32 pixel (x, y) of each cell: (index + offset) * stride."""
        levels = []
        for (height, width), stride in zip(self.shapes, self.strides, strict=True):
            rows = (torch.arange(height, dtype=torch.float32, device=device) + offset) * stride
            columns = (torch.arange(width, dtype=torch.float32, device=device) + offset) * stride
            levels.append(torch.cartesian_prod(rows, columns).flip(-1))
        return torch.cat(levels)


def _xy(sizes: Sequence[tuple[int, int]], device: torch.device | str) -> Tensor:
    """(B, 1, 2) float32 (width, height) of sizes (h, w)."""
    return torch.tensor([[[float(w), float(h)]] for h, w in sizes], device=device)
