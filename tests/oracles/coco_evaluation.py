"""pycocotools over a whole set at once, and random sets to try it on."""

import contextlib
import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mvplm.evaluation.detection import DetectionAP
from mvplm.evaluation.matching import TrueObject
from mvplm.structures.masks import encode_mask

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass
class Picture:
    """predictions: COCO result entries. truth: TrueObjects. size: (H, W)."""

    key: int
    predictions: list[dict[str, Any]] = field(default_factory=list)
    truth: list[TrueObject] = field(default_factory=list)
    size: tuple[int, int] = (120, 160)


def whole_run(pictures: list[Picture], classes: list[int], kind: str) -> dict[str, float]:
    """The twelve numbers of one plain run in percent; -100 where there is nothing to count."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images, annotations, results = [], [], []
    for picture in pictures:
        images.append({"id": picture.key, "height": picture.size[0], "width": picture.size[1]})
        for item in picture.truth:
            x1, y1, x2, y2 = item.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture.key,
                    "category_id": item.class_index,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": item.segmentation,
                    "area": item.area,
                    "iscrowd": int(item.iscrowd),
                }
            )
        hidden = "segmentation" if kind == "bbox" else "bbox"
        results += [
            {**{k: v for k, v in entry.items() if k != hidden}, "image_id": picture.key}
            for entry in picture.predictions
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {"images": images, "annotations": annotations, "categories": [{"id": c} for c in classes]}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.params.catIds = classes
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: 100.0 * float(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


def random_set(seed: int, *, pictures: int = 12, classes: int = 4, most: int = 30) -> list[Picture]:
    """Crowds, pictures without objects or without finds, equal scores, more finds than count, all sizes."""
    rng = np.random.default_rng(seed)
    out = []
    for key in range(pictures):
        picture = Picture(key=7 * key + 3)
        for _ in range(0 if rng.random() < 0.2 else rng.integers(0, 9)):
            box = _random_box(rng)
            area = float(_mask(box).sum() * rng.uniform(0.7, 1.2))
            label = int(rng.integers(classes))
            picture.truth.append(
                TrueObject(tuple(box), label, encode_mask(_mask(box)), bool(rng.random() < 0.15), area)
            )
        for _ in range(0 if rng.random() < 0.15 else rng.integers(0, most)):
            near = picture.truth and rng.random() < 0.7
            item = picture.truth[rng.integers(len(picture.truth))] if near else None
            box = np.array(_random_box(rng) if item is None else item.box) + (item is not None) * rng.integers(-4, 5, 4)
            box = np.clip([*np.minimum(box[:2], box[2:] - 2), *box[2:]], 0, [158, 118, 160, 120]).tolist()
            label = int(rng.integers(classes)) if item is None or rng.random() < 0.1 else item.class_index
            picture.predictions.append(find(box, label, float(np.round(rng.random(), 1 if rng.random() < 0.5 else 6))))
        out.append(picture)
    return out


def find(box: list[float], label: int, score: float) -> dict[str, Any]:
    """A result entry with box and mask."""
    x1, y1, x2, y2 = box
    return {
        "category_id": label,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": score,
        "segmentation": encode_mask(_mask(box)),
    }


def measured(pictures: list[Picture], num_classes: int, **options: Any) -> DetectionAP:
    """The metric after all pictures."""
    metric = DetectionAP(num_classes, **options)
    for picture in pictures:
        metric.update(picture.predictions, picture.truth, size=picture.size, key=picture.key)
    return metric


def _random_box(rng: np.random.Generator) -> list[float]:
    width, height = rng.integers(4, 155), rng.integers(4, 116)
    x, y = rng.integers(0, 158 - width), rng.integers(0, 118 - height)
    return [float(x), float(y), float(x + width), float(y + height)]


def _mask(box: list[float]) -> np.ndarray:
    """An ellipse in a box."""
    x1, y1, x2, y2 = box
    rows, columns = np.mgrid[0.5:120, 0.5:160]
    width, height = max(x2 - x1, 1), max(y2 - y1, 1)
    return ((columns - (x1 + x2) / 2) / (width / 2)) ** 2 + ((rows - (y1 + y2) / 2) / (height / 2)) ** 2 <= 1
