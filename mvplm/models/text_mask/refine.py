"""Optional refinement of written masks with SAM: the same prompts every time, and a guard against what went wrong.

Source: the prompts of SAMRefiner (tight box, most central points, weighted mask), by description; the guard is ours.
Letters: H x W pixels of the picture, S the side of SAM's frame, M = S / 4 that of its masks.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mvplm.structures import Perception
from mvplm.structures.masks import tight_box

ITERATIONS = 5
_STRENGTH, _SHARPNESS = 30.0, 4.0
_LEAST_OVERLAP, _LEAST_INSIDE, _LEAST_SURE, _MOST_GROWTH, _MARGIN = 0.5, 0.9, 0.7, 2.0, 0.1


@dataclass(frozen=True)
class RefinedMask:
    """A mask after refinement.

    Attributes:
        mask: (H, W) bool; the given one where refinement was rejected.
        rejected: None, or why: "empty", "overlap", "outside", "area" or "unsure".
        score: IoU that SAM expects of its last mask; 0 where it was not asked.
    """

    mask: np.ndarray
    rejected: str | None
    score: float


@dataclass(frozen=True)
class MaskPrompt:
    """What SAM is asked with, in pixels of the picture.

    Attributes:
        points: (P, 2) xy centres of pixels: the innermost of the mask, then the innermost of the rest of its box, where
            there is one. box: (4,) XYXY on pixel edges.
    """

    points: np.ndarray
    box: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray) -> "MaskPrompt":
        """The prompt of a mask (H, W) bool with at least one pixel; the first pixel in raster order decides ties."""
        from scipy.ndimage import distance_transform_edt

        box = tight_box(mask)
        assert box is not None, "an empty mask has no prompt"
        x1, y1, x2, y2 = box.astype(int)
        points = [_innermost(distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1])]
        rest = np.zeros(mask.shape)
        if not mask[y1:y2, x1:x2].all():
            rest[y1:y2, x1:x2] = distance_transform_edt(~mask)[y1:y2, x1:x2]
            points.append(_innermost(rest))
        return cls(np.array(points, np.float64), box)


def _innermost(distance: np.ndarray) -> tuple[float, float]:
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return column + 0.5, row + 0.5


class MaskRefiner:
    """SAM as a refiner of masks. It draws nothing at random.

    Args:
        sam: ``transformers.SamModel``. processor: its image processor.
    """

    def __init__(self, sam: nn.Module, processor: Any) -> None:
        self.sam, self.processor = sam.eval(), processor
        self._last: tuple[Tensor, Tensor] | None = None

    @classmethod
    def from_pretrained(cls, folder: str | Path, *, device: torch.device | str = "cpu") -> "MaskRefiner":
        """From a directory with ``SamModel``'s weights and image processor.

        Raises:
            ValueError: it cannot be read; the message names it.
        """
        from transformers import SamImageProcessor, SamModel

        try:
            sam = SamModel.from_pretrained(str(folder), local_files_only=True)
            processor = SamImageProcessor.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"text_mask.refiner: {folder} cannot be read as a SAM of transformers: {error}") from error
        return cls(sam.to(device), processor)

    @property
    def side(self) -> int:
        """S."""
        return int(self.sam.config.vision_config.image_size)

    @torch.inference_mode()
    def refine(self, image: Tensor, masks: Tensor) -> list[RefinedMask]:
        """Refine N masks (N, H, W) bool of an image (3, H, W) uint8; an empty mask stays as it is."""
        if not len(masks) or not bool(masks.any()):
            return [RefinedMask(mask.numpy(), "empty", 0.0) for mask in masks.cpu()]
        embedding = self._embedding(image)
        return [self._one(mask.cpu().numpy(), embedding) for mask in masks]

    def _embedding(self, image: Tensor) -> Tensor:
        """SAM's view of an image, kept for the next call about it."""
        if self._last is None or self._last[0] is not image:
            inputs = self.processor(images=image.permute(1, 2, 0).cpu().numpy(), return_tensors="pt")
            pixels = inputs["pixel_values"].to(next(self.sam.parameters()))
            self._last = image, self.sam.get_image_embeddings(pixels)
        return self._last[1]

    def _one(self, coarse: np.ndarray, embedding: Tensor) -> RefinedMask:
        if not coarse.any():
            return RefinedMask(coarse, "empty", 0.0)
        mask, score = coarse, 0.0
        for _ in range(ITERATIONS):
            mask, score = self._ask(mask, embedding)
            if not mask.any():
                break
        reason = rejection(coarse, mask, score=score)
        return RefinedMask(mask if reason is None else coarse, reason, score)

    def _ask(self, mask: np.ndarray, embedding: Tensor) -> tuple[np.ndarray, float]:
        """The mask that SAM is surest of, with the IoU it expects, when it is prompted with a mask (H, W)."""
        prompt, size, inner = MaskPrompt.of(mask), mask.shape, frame_size(mask.shape, self.side)
        scale = np.array([inner[1] / size[1], inner[0] / size[0]])
        # SAM takes positions of pixels and goes to their centres itself.
        points = torch.from_numpy(prompt.points * scale - 0.5).to(embedding)
        box = torch.from_numpy(prompt.box * np.tile(scale, 2) - 0.5).to(embedding)
        labels = torch.tensor([1, 0][: len(points)], device=embedding.device)
        output = self.sam(
            image_embeddings=embedding,
            input_points=points[None, None],
            input_labels=labels[None, None],
            input_boxes=box[None, None],
            input_masks=mask_prompt(mask, self.side)[None, None].to(embedding),
            multimask_output=True,
        )
        best = int(output.iou_scores[0, 0].argmax())
        framed = _resized(output.pred_masks[0, 0, best].float(), (self.side, self.side))
        found = _resized(framed[: inner[0], : inner[1]], (size[0], size[1])) > 0
        return found.cpu().numpy(), float(output.iou_scores[0, 0, best])


def refine_perception(refiner: MaskRefiner, found: Perception, *, image: Tensor) -> Perception:
    """The same answer with refined masks of its instances, and the masks as they were written beside them.

    Args:
        refiner: of masks. found: an answer with instances. image: (3, H, W) uint8.
    """
    instances = found.instances
    if instances is None or instances.masks is None or not len(instances):
        return found
    refined = refiner.refine(image, instances.masks)
    boxes = instances.boxes.clone()
    for place, one in enumerate(refined):
        frame = None if one.rejected else tight_box(one.mask)
        if frame is not None:
            boxes[place] = torch.from_numpy(frame).to(boxes)
    masks = torch.from_numpy(np.stack([one.mask for one in refined]))
    return replace(
        found,
        instances=replace(instances, masks=masks, boxes=boxes),
        coarse_masks=instances.masks,
        refine_rejected=[one.rejected for one in refined],
    )


def frame_size(size: tuple[int, ...], side: int) -> tuple[int, int]:
    """(h, w) of a picture of (H, W) in SAM's frame, its longer side filling it."""
    scale = side / max(size)
    return int(size[0] * scale + 0.5), int(size[1] * scale + 0.5)


def mask_prompt(mask: np.ndarray, side: int) -> Tensor:
    """Logits (M, M) float32 of a mask (H, W) bool in SAM's frame: weaker towards the rim of the mask."""
    from scipy.ndimage import distance_transform_edt

    inner = frame_size(mask.shape, side)
    signed = _resized(torch.from_numpy(mask.astype(np.float32)) * 2 - 1, inner)
    framed = torch.full((side, side), -1.0)
    framed[: inner[0], : inner[1]] = signed
    small = (_resized(framed, (side // 4, side // 4)) > 0).numpy()
    weight = np.ones(small.shape)
    if small.any():
        depth = distance_transform_edt(np.pad(small, 1))[1:-1, 1:-1]
        weight[small] = np.exp(-((depth - depth.max()) ** 2) * _SHARPNESS / small.sum())[small]
    return torch.from_numpy(np.where(small, _STRENGTH, -_STRENGTH) * weight).float()


def rejection(coarse: np.ndarray, refined: np.ndarray, *, score: float) -> str | None:
    """Why a refined mask is not to be trusted, None where it is; masks (H, W) bool, ``score`` the expected IoU."""
    area, before = int(refined.sum()), int(coarse.sum())
    if not area:
        return "empty"
    if (refined & coarse).sum() < _LEAST_OVERLAP * (refined | coarse).sum():
        return "overlap"
    box = tight_box(coarse)
    assert box is not None, "an empty mask is not refined"
    x1, y1, x2, y2 = box
    across, down = _MARGIN / 2 * (x2 - x1), _MARGIN / 2 * (y2 - y1)
    rows, columns = (slice(max(0, round(a)), round(b)) for a, b in ((y1 - down, y2 + down), (x1 - across, x2 + across)))
    if refined[rows, columns].sum() < _LEAST_INSIDE * area:
        return "outside"
    if not before / _MOST_GROWTH <= area <= before * _MOST_GROWTH:
        return "area"
    return "unsure" if score < _LEAST_SURE else None


def _resized(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Values (h, w) at another size, bilinear."""
    return nn.functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
