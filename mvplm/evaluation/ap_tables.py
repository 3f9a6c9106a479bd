"""Average precision of every class and of every size of objects."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.tables import Table

_SIZES = ("small", "medium", "large")


def detection_tables(metric: DetectionAP, names: Sequence[str], *, part: str = "detection") -> dict[str, Table]:
    """``PART/per_class`` (AP, AP50, objects) and ``PART/per_size`` (AP, objects), of boxes and of masks.

    Args:
        metric: what was found and what there is.
        names: of the classes.
        part: beginning of the names of the tables.
    """
    lists = metric._coco_lists()
    kinds = {"box": "bbox", "mask": "segm"} if metric.masks else {"box": "bbox"}
    found = {name: _precision(lists, kind=kind, metric=metric) for name, kind in kinds.items()}
    true = [a for a in lists.annotations if not a["iscrowd"] and a["category_id"] in metric.classes]
    classes: dict[str, dict[str, Any]] = {}
    for column, place in enumerate(metric.classes):
        if objects := sum(entry["category_id"] == place for entry in true):
            classes[names[place]] = {"objects": objects}
            for name, precision in found.items():
                classes[names[place]] |= {f"{name}_AP": _mean(precision[:, :, column, 0])}
                classes[names[place]] |= {f"{name}_AP50": _mean(precision[0, :, column, 0])}
    ends = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
    sizes = {
        size: {
            "objects": sum(low <= entry["area"] <= high for entry in true),
            **{f"{name}_AP": _mean(precision[:, :, :, place]) for name, precision in found.items()},
        }
        for place, (size, (low, high)) in enumerate(ends.items(), start=1)
    }
    return {
        f"{part}/per_class": Table.of_groups("name", classes),
        f"{part}/per_size": Table.of_groups("size", sizes),
    }


def _mean(precision: np.ndarray) -> float | None:
    """Percent; None where nothing of that kind is in the truth."""
    present = precision[precision > -1]
    return 100.0 * float(present.mean()) if present.size else None


def _precision(lists: Any, *, kind: str, metric: DetectionAP) -> np.ndarray:
    """(thresholds, recalls, classes, sizes) with the most finds per image; -1 where there is nothing to find."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    hidden = "segmentation" if kind == "bbox" else None
    results = [{k: v for k, v in entry.items() if k != hidden} for entry in lists.results]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        categories = [{"id": place} for place in metric.classes]
        truth.dataset = {"images": lists.images, "annotations": lists.annotations, "categories": categories}
        truth.createIndex()
        found = truth.loadRes(results) if results else COCO()
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.catIds = metric.classes
        evaluation.params.maxDets = [1, 10, metric.max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][..., -1]
