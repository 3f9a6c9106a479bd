"""Finds of one picture matched with its true objects by pycocotools, kept as small arrays."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.structures.masks import mask_area, to_rle

KINDS = {"box": "bbox", "mask": "segm"}
AREAS = {"all": "", "small": "s", "medium": "m", "large": "l"}
"""Sizes of objects, and what they add to the name of a number."""
THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""T values of IoU; the very numbers of pycocotools."""
_EDGES = np.array([[0, 1e5**2], [0, 32**2], [32**2, 96**2], [96**2, 1e5**2]])


@dataclass(frozen=True)
class TrueObject:
    """One object of the truth: box XYXY_ABS, class position, optional segmentation (RLE or polygons), crowd flag.

    ``area`` in pixels decides its size; None takes that of the mask, or of the box where there is no mask.
    """

    box: tuple[float, float, float, float]
    class_index: int
    segmentation: Any = None
    iscrowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class PictureMatches:
    """What one picture says about C classes with N finds; A sizes, T thresholds. Neither boxes nor masks are held.

    Attributes:
        classes: (C,) int32 positions, ascending. finds: (C,) int32 how many of the N each has.
        objects: (C, A) int32 true objects that can be missed.
        scores: (N,) float64, class by class, best first. counted: (N,) bool, within the limit per picture.
        outcomes: "box", "mask" -> (N, bytes) uint8, see :func:`unpack`.
    """

    classes: np.ndarray
    finds: np.ndarray
    objects: np.ndarray
    scores: np.ndarray
    counted: np.ndarray
    outcomes: Mapping[str, np.ndarray]


def unpack(outcomes: np.ndarray) -> np.ndarray:
    """(2, A, T, N) bool of packed outcomes (N, bytes): finds that are right, and finds that are judged at all."""
    bits = np.unpackbits(outcomes, axis=1, count=2 * len(AREAS) * len(THRESHOLDS))
    return bits.T.reshape(2, len(AREAS), len(THRESHOLDS), len(outcomes)).astype(bool)


def _pack(right: np.ndarray, judged: np.ndarray) -> np.ndarray:
    flags = np.stack([right, judged]).reshape(2 * len(AREAS) * len(THRESHOLDS), -1)
    return np.packbits(flags.T, axis=1)


@dataclass(frozen=True)
class Matcher:
    """Matches pictures.

    Attributes:
        classes: positions that are judged. kinds: of "box" and "mask". rules: what counts.
    """

    classes: frozenset[int]
    kinds: tuple[str, ...]
    rules: DetectionRules

    def match(
        self,
        predictions: Sequence[Mapping[str, Any]],
        truth: Sequence[TrueObject],
        *,
        size: tuple[int, int],
        scored: Collection[int] | None = None,
        incomplete: Collection[int] = (),
    ) -> PictureMatches:
        """Match one picture; arguments as in ``DetectionAP.update``."""
        labels = np.array([entry["category_id"] for entry in predictions], np.int64)
        scores = np.array([entry["score"] for entry in predictions], np.float64)
        order = np.lexsort((-scores, labels))
        counted = self._counted(labels, scores, order=order)
        judged = self.classes if scored is None else self.classes.intersection(scored)
        kept = np.isin(labels, list(judged)) & counted
        if self.rules.per_class_limit is not None:
            # What is judged nowhere still is one of the best finds of its class over the whole set.
            kept = np.isin(labels, list(self.classes))
            incomplete = {*incomplete, *(self.classes - judged)}
        order = order[kept[order]]
        found = _Found([predictions[place] for place in order], labels[order], scores[order])
        true = [item for item in truth if item.class_index in self.classes]
        targets = _Targets(true, np.array([item.class_index for item in true], np.int64), size)
        classes = np.unique(np.concatenate([found.labels, targets.labels]))
        return PictureMatches(
            classes=classes.astype(np.int32),
            finds=(found.labels[None] == classes[:, None]).sum(1, dtype=np.int32),
            objects=_count_objects(targets, classes),
            scores=found.scores,
            counted=counted[order],
            outcomes={kind: _outcomes(found, targets, kind=kind, incomplete=incomplete) for kind in self.kinds},
        )

    def _counted(self, labels: np.ndarray, scores: np.ndarray, *, order: np.ndarray) -> np.ndarray:
        """(N,) bool, whether a find is within the limit per picture; ``order`` sorts by class, then by score."""
        rank = np.empty(len(labels), np.int64)
        if self.rules.whole_picture:
            rank[np.argsort(-scores, kind="stable")] = np.arange(len(labels))
        else:
            rank[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
        return rank < self.rules.max_detections


@dataclass(frozen=True)
class _Found:
    """Finds of judged classes, class by class and best first."""

    entries: list[Mapping[str, Any]]
    labels: np.ndarray
    scores: np.ndarray

    def shapes(self, kind: str) -> list[dict[str, Any]]:
        """What pycocotools wants to know of each."""
        if kind == "box":
            boxes = [entry["bbox"] for entry in self.entries]
            return [{"bbox": box, "area": box[2] * box[3]} for box in boxes]
        codes = [entry["segmentation"] for entry in self.entries]
        return [{"segmentation": code, "area": mask_area(code)} for code in codes]


@dataclass(frozen=True)
class _Targets:
    """True objects of judged classes in the order they were given."""

    items: list[TrueObject]
    labels: np.ndarray
    size: tuple[int, int]

    def areas(self) -> np.ndarray:
        """(G,) float64."""
        return np.array([_area(item, self.size) for item in self.items], np.float64)

    def ignored(self) -> np.ndarray:
        """(A, G) bool: crowds, and objects of another size."""
        crowds = np.array([item.iscrowd for item in self.items], bool)
        return crowds | _outside(self.areas())

    def shapes(self, kind: str) -> list[dict[str, Any]]:
        """What pycocotools wants to know of each."""
        shapes = []
        for item, area in zip(self.items, self.areas().tolist(), strict=True):
            shape: dict[str, Any] = {"iscrowd": int(item.iscrowd), "ignore": int(item.iscrowd), "area": area}
            if kind == "box":
                x1, y1, x2, y2 = item.box
                shape["bbox"] = [x1, y1, x2 - x1, y2 - y1]
            elif item.segmentation is None:
                raise ValueError(f"a true object at {item.box} has no mask; pass masks=False to score boxes")
            else:
                shape["segmentation"] = to_rle(item.segmentation, self.size)
            shapes.append(shape)
        return shapes


def _area(item: TrueObject, size: tuple[int, int]) -> float:
    if item.area is not None:
        return item.area
    if item.segmentation is not None:
        return mask_area(item.segmentation, size)
    return (item.box[2] - item.box[0]) * (item.box[3] - item.box[1])


def _outside(areas: np.ndarray) -> np.ndarray:
    """(A, N) bool: areas (N,) that are outside each size."""
    return (areas < _EDGES[:, :1]) | (areas > _EDGES[:, 1:])


def _count_objects(targets: _Targets, classes: np.ndarray) -> np.ndarray:
    """(C, A) int32."""
    of_class = targets.labels[None] == classes[:, None]
    return (of_class.astype(np.int32) @ ~targets.ignored().T).astype(np.int32).reshape(len(classes), len(AREAS))


def _outcomes(found: _Found, targets: _Targets, *, kind: str, incomplete: Collection[int]) -> np.ndarray:
    """Packed outcomes of all finds."""
    shapes, true, hidden = found.shapes(kind), targets.shapes(kind), targets.ignored()
    count = len(shapes)
    loose = _outside(np.array([shape["area"] for shape in shapes], np.float64))
    loose |= np.isin(found.labels, list(incomplete))
    right = np.zeros((len(AREAS), len(THRESHOLDS), count), bool)
    judged = np.repeat(~loose[:, None], len(THRESHOLDS), axis=1)
    for label in np.intersect1d(found.labels, targets.labels):
        first, last = np.searchsorted(found.labels, [label, label + 1])
        places = np.flatnonzero(targets.labels == label)
        ids = _matched(
            [{**shapes[place], "score": found.scores[place]} for place in range(first, last)],
            [true[place] for place in places],
            ignored=hidden[:, places],
            kind=kind,
        )
        of_target = np.concatenate([np.zeros((len(AREAS), 1), bool), hidden[:, places]], axis=1)
        on_ignored = np.take_along_axis(of_target, ids.reshape(len(AREAS), -1), axis=1).reshape(ids.shape)
        right[..., first:last] = (ids > 0) & ~on_ignored
        judged[..., first:last] = np.where(ids > 0, ~on_ignored, judged[..., first:last])
    return _pack(right, judged)


def _matched(found: list[dict[str, Any]], true: list[dict[str, Any]], *, ignored: np.ndarray, kind: str) -> np.ndarray:
    """For each size and threshold the matched object of each find, counted from 1, and 0 for none: (A, T, D).

    pycocotools' matching looks at the sizes only to know which objects are ignored; sizes that ignore the same
    ones are matched once. Where all are ignored or none is, their order is that of the list in both cases.
    """
    from pycocotools.cocoeval import COCOeval

    evaluation = COCOeval(iouType=KINDS[kind])
    evaluation.params.maxDets = [len(found)]
    evaluation._dts[0, 0] = [{**entry, "id": place} for place, entry in enumerate(found, start=1)]
    evaluation._gts[0, 0] = [{**entry, "id": place} for place, entry in enumerate(true, start=1)]
    evaluation.ious = {(0, 0): evaluation.computeIoU(0, 0)}
    known: dict[bytes, np.ndarray] = {}
    for edges, flags in zip(_EDGES.tolist(), ignored, strict=True):
        pattern = b"" if flags.all() or not flags.any() else flags.tobytes()
        if pattern not in known:
            result = evaluation.evaluateImg(0, 0, edges, len(found))
            known[pattern] = result["dtMatches"].astype(np.int64)
    patterns = (b"" if flags.all() or not flags.any() else flags.tobytes() for flags in ignored)
    return np.stack([known[pattern] for pattern in patterns])
