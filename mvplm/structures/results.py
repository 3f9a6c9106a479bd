"""Results a person works with: instances, panoptic and semantic maps, in pixels of the original image."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvplm.structures.masks import encode_mask
from mvplm.structures.written import WrittenAnswer


@dataclass
class Instances:
    """N found objects, best first.

    Attributes:
        boxes: (N, 4) float32 XYXY_ABS in original pixels. scores: (N,) float32 in [0, 1].
        labels: N strings. class_index: (N,) int64 position in the caller's list.
        masks: (N, H, W) bool at original size, or None when only boxes were asked for.
    """

    boxes: Tensor
    scores: Tensor
    labels: list[str]
    class_index: Tensor
    masks: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        if tuple(self.boxes.shape) != (count, 4) or len(self.labels) != count or len(self.class_index) != count:
            raise ValueError(
                f"instances disagree: {count} scores, boxes {tuple(self.boxes.shape)}, {len(self.labels)} labels, "
                f"{len(self.class_index)} class indices"
            )
        if self.masks is not None and len(self.masks) != count:
            raise ValueError(f"{count} instances need as many masks, got {len(self.masks)}")

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: Tensor) -> "Instances":
        """The instances at ``index``: (N,) bool, or integer positions."""
        positions = index.nonzero().flatten() if index.dtype == torch.bool else index
        masks = None if self.masks is None else self.masks[positions]
        labels = [self.labels[i] for i in positions.tolist()]
        return Instances(self.boxes[positions], self.scores[positions], labels, self.class_index[positions], masks)


@dataclass
class SegmentInfo:
    """One segment of a panoptic map; ``id`` is its value there, ``area`` its pixels."""

    id: int
    label: str
    class_index: int
    isthing: bool
    score: float
    area: int


@dataclass
class PanopticMap:
    """segment_map: (H, W) int32, 0 is void; segments: its entries."""

    segment_map: Tensor
    segments: list[SegmentInfo]


@dataclass
class SemanticMap:
    """class_map: (H, W) int64 position in the caller's list, -1 where nothing was said; labels: the list."""

    class_map: Tensor
    labels: list[str]


@dataclass
class Perception:
    """The answer to one question about one image.

    Attributes:
        size: (H, W) of the original image.
        task: what was asked.
        query: the names, or the one expression.
        instances, panoptic, semantic: whichever the task gives.
        caption: what the model said it sees, or None.
        no_target: True when a sentence fits nothing in the image; presence: score in [0, 1] that something fits.
        timings: seconds per step.
        display_score: least score of an instance that is drawn or told; never affects numbers.
        written: the answer as text and how it was read, from models that write masks or boxes as text.
        coarse_masks: (N, H, W) bool, the masks as written, where those of ``instances`` were refined.
        refine_rejected: why the refinement of each of the N masks was not taken, None where it was.
        unmasked: objects with a box but without a mask where masks were asked for; None without any.
    """

    size: tuple[int, int]
    task: str
    query: list[str]
    instances: Instances | None = None
    panoptic: PanopticMap | None = None
    semantic: SemanticMap | None = None
    caption: str | None = None
    no_target: bool = False
    presence: float | None = None
    forced_summary: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    display_score: float = 0.5
    written: WrittenAnswer | None = None
    coarse_masks: Tensor | None = None
    refine_rejected: list[str | None] | None = None
    unmasked: Instances | None = None

    @property
    def unparsed(self) -> bool:
        """Whether the model answered in words that cannot be read; such an answer never counts as "nothing fits"."""
        return self.written is not None and self.written.status in ("unparsed", "invalid")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dictionary: boxes as XYXY pixels, masks as COCO RLE, maps as one RLE per segment."""
        out: dict[str, Any] = {
            "size": list(self.size),
            "task": self.task,
            "query": list(self.query),
            "caption": self.caption,
            "no_target": self.no_target,
            "presence": self.presence,
            "timings": dict(self.timings),
        }
        if self.written is not None:
            out["written"] = vars(self.written)
        if self.instances is not None:
            out["instances"] = self._instance_dicts(self.instances)
        if self.refine_rejected is not None:
            out["refine_rejected"] = list(self.refine_rejected)
        if self.unmasked is not None:
            out["unmasked"] = self._instance_dicts(self.unmasked)
        if self.panoptic is not None:
            values = self.panoptic.segment_map.cpu().numpy()
            out["segments"] = [
                {**vars(segment), "segmentation": encode_mask(values == segment.id)}
                for segment in self.panoptic.segments
            ]
        if self.semantic is not None:
            out["semantic"] = self._semantic_dicts(self.semantic)
        return out

    def to_coco(self, image_id: int = 0, *, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO result entries (``bbox`` XYWH pixels, ``segmentation`` RLE) of the instances.

        Args:
            image_id: written into every entry.
            category_ids: dataset id of each name of the query; the position in the query when None.
        """
        from mvplm.structures.boxes import BoxFormat, convert_boxes

        if self.instances is None:
            return []
        boxes = convert_boxes(self.instances.boxes, BoxFormat.XYXY_ABS, target=BoxFormat.XYWH_ABS)
        entries = []
        for i, box in enumerate(boxes.tolist()):
            index = int(self.instances.class_index[i])
            entry = {
                "image_id": image_id,
                "category_id": index if category_ids is None else int(category_ids[index]),
                "bbox": box,
                "score": float(self.instances.scores[i]),
            }
            if self.instances.masks is not None:
                entry["segmentation"] = encode_mask(self.instances.masks[i].cpu().numpy())
            entries.append(entry)
        return entries

    def plot(self, path: str | Path | None = None, *, image: Any = None) -> Any:
        """Draw the result; saves a PNG when ``path`` is given and returns the PIL image.

        Args:
            path: where to write; nothing is written when None.
            image: the picture the result belongs to; ``Perceiver.predict`` remembers it, so it is rarely needed.
        """
        from mvplm.visualize import draw_perception

        picture = draw_perception(self, self._image if image is None else image)
        if path is not None:
            picture.save(path)
        return picture

    def to_supervision(self) -> Any:
        """``supervision.Detections`` of the instances (needs the ``supervision`` package)."""
        from mvplm.interop.supervision import to_supervision

        return to_supervision(self)

    def to_detectron2(self) -> dict[str, Any]:
        """``instances``, ``panoptic_seg`` and ``sem_seg`` as detectron2's models give them (needs ``detectron2``)."""
        from mvplm.interop.detectron2_outputs import to_detectron2

        return to_detectron2(self)

    _image: np.ndarray | None = field(default=None, repr=False)

    @staticmethod
    def _instance_dicts(instances: Instances) -> list[dict[str, Any]]:
        entries = []
        for i in range(len(instances)):
            entry: dict[str, Any] = {
                "label": instances.labels[i],
                "class_index": int(instances.class_index[i]),
                "score": float(instances.scores[i]),
                "box": [float(value) for value in instances.boxes[i]],
            }
            if instances.masks is not None:
                entry["segmentation"] = encode_mask(instances.masks[i].cpu().numpy())
            entries.append(entry)
        return entries

    @staticmethod
    def _semantic_dicts(semantic: SemanticMap) -> list[dict[str, Any]]:
        values = semantic.class_map.cpu().numpy()
        return [
            {"label": semantic.labels[index], "class_index": int(index), "segmentation": encode_mask(values == index)}
            for index in np.unique(values)
            if index >= 0
        ]
