"""Which box a mask decoder is given in training: the true one, a shifted one, or one that a model wrote before.

Source: ours; the shares, the jitter and the rule for written boxes are those of the project's specification.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mvplm.structures.boxes import box_iou

_SMALLEST_SIDE = 1e-3
_LEAST_IOU = 0.5


def jittered(boxes: Tensor, amount: float, *, rng: random.Random) -> Tensor:
    """XYXY_NORM boxes (k, 4) with every edge moved by up to ``amount`` of its box's side, inside [0, 1].

    Args:
        boxes: true boxes. amount: largest shift as a share of the side across the edge. rng: source of the draws.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    moves = torch.tensor([[rng.uniform(-amount, amount) for _ in range(4)] for _ in range(len(boxes))])
    return at_least((boxes + moves.reshape(-1, 4).to(boxes) * sides).clamp(0, 1))


def at_least(boxes: Tensor) -> Tensor:
    """XYXY_NORM boxes (k, 4) whose sides are at least a thousandth, still inside [0, 1]."""
    low, high = boxes[:, :2], boxes[:, 2:]
    high = torch.maximum(high, low + _SMALLEST_SIDE).clamp(max=1)
    return torch.cat([torch.minimum(low, high - _SMALLEST_SIDE), high], dim=1)


@dataclass(frozen=True)
class BoxMix:
    """Shares of the kinds of boxes; each instance draws its own.

    Attributes:
        true, jitter, predicted: shares, not all 0. Without written boxes for an instance the last goes to ``jitter``.
        amount: largest shift of an edge as a share of its side.
    """

    true: float = 0.25
    jitter: float = 0.5
    predicted: float = 0.25
    amount: float = 0.1

    def __post_init__(self) -> None:
        if min(self.true, self.jitter, self.predicted) < 0 or not self.true + self.jitter + self.predicted > 0:
            raise ValueError(f"shares of boxes must be >= 0 and not all 0, got {self}")

    def draw(self, boxes: Tensor, *, rng: random.Random, written: Tensor | None = None) -> Tensor:
        """Boxes (k, 4) for the decoder.

        Args:
            boxes: (k, 4) XYXY_NORM, true. rng: source of the draws.
            written: (n, 4) XYXY_NORM that a model wrote for the picture; each serves the true box it fits best, from an
                IoU of 0.5 on.
        """
        shifted = jittered(boxes, self.amount, rng=rng)
        partners = [None] * len(boxes) if written is None else matched_boxes(boxes, written)
        drawn = []
        for true, moved, own in zip(boxes, shifted, partners, strict=True):
            kind = rng.choices(("true", "jitter", "predicted"), (self.true, self.jitter, self.predicted))[0]
            if kind == "predicted" and own is not None:
                drawn.append(own.to(boxes))
            else:
                drawn.append(true if kind == "true" else moved)
        return torch.stack(drawn) if drawn else boxes


def matched_boxes(boxes: Tensor, written: Tensor) -> list[Tensor | None]:
    """For each true box the written one that is assigned to it by IoU, or None below an IoU of 0.5."""
    overlaps = box_iou(boxes, written.to(boxes))
    partners: list[Tensor | None] = [None] * len(boxes)
    for row, column in zip(*linear_sum_assignment(-overlaps.numpy()), strict=True):
        if overlaps[row, column] >= _LEAST_IOU:
            partners[row] = written[column]
    return partners


def read_written_boxes(path: str | Path) -> dict[str, Tensor]:
    """Boxes (n, 4) XYXY_NORM by image id, from lines ``{"image_id": ..., "boxes": [[x1, y1, x2, y2], ...]}``.

    Numbers in the file are thousandths of the picture's sides, as models write them.

    Raises:
        ValueError: a line that does not say this; the message names file and line.
        FileNotFoundError: no such file.
    """
    found: dict[str, Tensor] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            boxes = np.array(entry["boxes"], np.float32).reshape(-1, 4) / 1000
            found[str(entry["image_id"])] = at_least(torch.from_numpy(boxes).clamp(0, 1))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path}:{number}: expected image_id and boxes of four numbers each, got {line[:80]!r}"
            ) from error
    return found
