"""Average precision of boxes and masks, computed by pycocotools."""

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mvplm.evaluation.metric import Metric
from mvplm.structures.masks import mask_area


@dataclass(frozen=True)
class TrueObject:
    """One object of the truth: box XYXY_ABS, class position, optional segmentation (RLE or polygons), crowd flag."""

    box: tuple[float, float, float, float]
    class_index: int
    segmentation: Any = None
    iscrowd: bool = False
    area: float | None = None


@dataclass
class _CocoLists:
    """The three lists pycocotools works on."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


class DetectionAP(Metric):
    """COCO average precision.

    Args:
        num_classes: K.
        classes: positions to average over; every class when None.
        masks: also score masks.
        max_detections: entries per image that count (COCO 100, LVIS 300).
    """

    def __init__(
        self,
        num_classes: int,
        classes: Sequence[int] | None = None,
        *,
        masks: bool = True,
        max_detections: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes, self.masks, self.max_detections = num_classes, masks, max_detections
        self.classes = list(range(num_classes)) if classes is None else list(classes)

    def update(
        self,
        predictions: Sequence[Mapping[str, Any]],
        truth: Sequence[TrueObject],
        *,
        size: tuple[int, int],
        key: Any = None,
    ) -> None:
        """Add one image.

        Args:
            predictions: COCO result entries (``category_id`` = class position, ``bbox`` XYWH pixels, ``score``,
                ``segmentation`` RLE when masks are scored); their ``image_id`` is not used.
            truth: objects of the image.
            size: (H, W) of the image.
            key: identifies the sample across ranks.
        """
        if self.masks:
            missing = [p for p in predictions if "segmentation" not in p]
            if missing:
                raise ValueError(f"{len(missing)} predictions have no 'segmentation'; pass masks=False to score boxes")
        self._add(key, (list(predictions), list(truth), size))

    def compute(self) -> dict[str, float]:
        """``box_AP``, ``box_AP50`` and, with masks, ``mask_AP``, ``mask_AP50`` in percent."""
        lists = self._coco_lists()
        out = {}
        for name, kind in (("box", "bbox"), ("mask", "segm")) if self.masks else (("box", "bbox"),):
            ap = _coco_ap(lists, kind=kind, classes=self.classes, most=self.max_detections)
            out[f"{name}_AP"], out[f"{name}_AP50"] = ap["AP"], ap["AP50"]
        return out

    def _coco_lists(self) -> _CocoLists:
        lists = _CocoLists()
        for image_id, (predictions, truth, (height, width)) in enumerate(self._gathered(), start=1):
            lists.images.append({"id": image_id, "height": height, "width": width})
            lists.results += [{**entry, "image_id": image_id} for entry in predictions]
            for item in truth:
                entry = {"id": len(lists.annotations) + 1, "image_id": image_id}
                lists.annotations.append({**entry, **_coco_annotation(item, (height, width))})
        return lists


def _coco_annotation(item: TrueObject, size: tuple[int, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = item.box
    area = item.area
    if area is None:
        area = (x2 - x1) * (y2 - y1) if item.segmentation is None else mask_area(item.segmentation, size)
    entry = {
        "category_id": item.class_index,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": float(area),
        "iscrowd": int(item.iscrowd),
    }
    if item.segmentation is not None:
        entry["segmentation"] = item.segmentation
    return entry


def _coco_ap(lists: _CocoLists, *, kind: str, classes: list[int], most: int) -> dict[str, float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not lists.annotations or not lists.results:
        return {"AP": 0.0, "AP50": 0.0}
    # With boxes, loadRes would read areas and boxes off the masks if it saw any.
    hidden = "segmentation" if kind == "bbox" else None
    results = [{k: v for k, v in entry.items() if k != hidden} for entry in lists.results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": lists.images,
            "annotations": lists.annotations,
            "categories": [{"id": c} for c in classes],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.params.catIds = classes
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes; all areas
    present = precision[precision > -1]
    at_half = precision[0][precision[0] > -1]
    return {
        "AP": 100.0 * float(present.mean()) if present.size else 0.0,
        "AP50": 100.0 * float(at_half.mean()) if at_half.size else 0.0,
    }
