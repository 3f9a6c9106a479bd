"""Losses of models that turn boxes into masks: both masks, the predicted overlap and the text.

Source: Qwen3-VL-Seg (arXiv 2605.07141), text loss plus weighted BCE and Dice; views, weights, the loss of the first
mask and that of the predicted overlap are ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mvplm.losses.functional import mask_bce_rows, mask_dice_rows
from mvplm.structures.choices import check_choice
from mvplm.structures.guided import GuidedBatch, GuidedOutput, GuidedTarget
from mvplm.structures.processes import mean_over_processes

_NO_INSTANCE = 1e-6


@dataclass(frozen=True)
class GuidedWeights:
    """Weights of the losses: ``lm + seg * (masks + first * masks of the first pass) + iou``.

    Attributes:
        lm: of the text. seg: of all masks. bce, dice: inside a mask's loss. first: of the first masks. iou: of the
            predicted overlap.
    """

    lm: float = 1.0
    seg: float = 1.0
    bce: float = 2.0
    dice: float = 1.0
    first: float = 0.5
    iou: float = 0.2

    def weight_of(self, name: str) -> float:
        """Weight of a loss in the total.

        Raises:
            ValueError: no loss of that name; the message lists the names.
        """
        weights = {
            "lm": self.lm,
            "mask_bce": self.seg * self.bce,
            "mask_dice": self.seg * self.dice,
            "mask_bce.first": self.seg * self.first * self.bce,
            "mask_dice.first": self.seg * self.first * self.dice,
            "iou": self.iou,
        }
        return weights[check_choice("loss", name, choices=weights)]

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum, a scalar."""
        return torch.stack([self.weight_of(name) * value.float() for name, value in losses.items()]).sum()


class GuidedCriterion:
    """Named losses of a batch, each a mean over the instances of all processes.

    A mask is judged in two views whose losses are averaged: the whole picture at the stride of the logits, and
    ``crop`` x ``crop`` points of its box enlarged by ``enlarge``, where small things count as much as large ones.

    Args:
        crop: points a side of the second view; 0 leaves it out.
        enlarge: factor on the sides of the box; what lies outside the picture is cut off.
    """

    def __init__(self, *, crop: int = 256, enlarge: float = 1.3) -> None:
        self.crop = crop
        self.enlarge = enlarge

    def __call__(self, output: GuidedOutput, batch: GuidedBatch) -> dict[str, Tensor]:
        """``lm``, ``mask_bce``, ``mask_dice``, both with ``.first``, and ``iou``: unweighted float32 scalars."""
        names = ("mask_bce", "mask_dice", "mask_bce.first", "mask_dice.first", "iou")
        sums: dict[str, list[Tensor]] = {name: [] for name in names}
        for decoded, target in zip(output.decoded, batch.targets, strict=True):
            if len(target):
                for name, value in self._image(decoded, target).items():
                    sums[name].append(value)
        count = torch.tensor(float(sum(map(len, batch.targets))), device=output.text.device)
        count = mean_over_processes(count).clamp(min=_NO_INSTANCE)
        nothing = output.text.new_zeros(()) if output.idle is None else output.idle
        losses = {name: (torch.stack(values).sum() if values else nothing) / count for name, values in sums.items()}
        return {"lm": output.text, **losses}

    def _image(self, decoded: Any, target: GuidedTarget) -> dict[str, Tensor]:
        """Sums over the instances of one picture."""
        truth = target.masks.float()
        cells = area_average(truth, (decoded.logits.shape[-2], decoded.logits.shape[-1]))
        places = None
        if self.crop:
            places = crop_points(target.boxes, self.crop, enlarge=self.enlarge)
        seen = [] if places is None else [sampled(truth, places)]
        found = {}
        for suffix, logits in (("", decoded.logits.float()), (".first", decoded.coarse_logits.float())):
            views = [(logits.flatten(1), cells.flatten(1))]
            views += [(sampled(logits, places), labels) for labels in seen if places is not None]
            for name, rows in (("mask_bce", mask_bce_rows), ("mask_dice", mask_dice_rows)):
                found[name + suffix] = torch.stack([rows(*view).sum() for view in views]).mean()
        overlap = cell_iou(decoded.logits.detach() > 0, cells >= 0.5)
        found["iou"] = (decoded.iou.float() - overlap).square().sum()
        return found


def area_average(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of every cell of a grid (k, h, w) that masks (k, H, W) float32 cover; cells need not be whole pixels."""
    rows = _cell_weights(masks.shape[-2], size[0], like=masks)
    columns = _cell_weights(masks.shape[-1], size[1], like=masks)
    return rows @ masks @ columns.T


def _cell_weights(pixels: int, cells: int, *, like: Tensor) -> Tensor:
    """(cells, pixels) share of each cell that each pixel makes up along one axis."""
    edges = torch.arange(pixels + 1, dtype=torch.float64) * (cells / pixels)
    starts = torch.arange(cells, dtype=torch.float64)[:, None]
    overlap = torch.minimum(edges[1:], starts + 1) - torch.maximum(edges[:-1], starts)
    return overlap.clamp(min=0).to(like)


def crop_points(boxes: Tensor, count: int, *, enlarge: float) -> Tensor:
    """Regular points (k, count, count, 2) as (x, y) fractions of the picture, in XYXY_NORM boxes (k, 4) enlarged."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * (enlarge / 2)
    low, high = (centre - half).clamp(0, 1), (centre + half).clamp(0, 1)
    steps = (torch.arange(count, dtype=boxes.dtype, device=boxes.device) + 0.5) / count
    along = low[:, None] + (high - low)[:, None] * steps[None, :, None]
    x = along[:, None, :, 0].expand(-1, count, -1)
    y = along[:, :, None, 1].expand(-1, -1, count)
    return torch.stack([x, y], dim=-1)


def sampled(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples (k, P) of maps (k, H, W), each at its own points (k, ..., 2) in [0, 1]; borders continue."""
    grid = 2 * points.flatten(1, -2)[:, None] - 1
    found = F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False)
    return found[:, 0, 0]


def cell_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (k,) float32 of bool masks (k, h, w), pair by pair; two empty masks give 0."""
    overlap = (first & second).flatten(1).sum(1)
    union = (first | second).flatten(1).sum(1)
    return overlap / union.clamp(min=1)
