"""A picture twice: with its truth, and with what was predicted."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

import numpy as np
import torch
from PIL import Image

from mvplm.analysis.results import ScoredSet
from mvplm.data.images import load_image
from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import ReferringFile
from mvplm.evaluation import ReferringIoU
from mvplm.evaluation.box_accuracy import box_iou
from mvplm.evaluation.truth import true_mask, true_masks, true_panoptic, true_semantic
from mvplm.measuring.scorers import DetectionScorer, ReferringScorer, SemanticScorer
from mvplm.structures import (
    Expression,
    Instances,
    PanopticMap,
    Perception,
    Record,
    SegmentInfo,
    SemanticMap,
    Vocabulary,
)
from mvplm.structures.boxes import masks_to_boxes
from mvplm.structures.masks import decode_mask
from mvplm.visualize import draw_perception, side_by_side


@dataclass(frozen=True)
class Drawn:
    """picture: truth and prediction side by side. text: what was asked and how that went, where there is a choice."""

    picture: Image.Image
    text: str = ""


def draw_both(scored: ScoredSet, image_id: Any, *, threshold: float = 0.0, lowest: bool = True) -> Drawn:
    """Draw a picture of a set with its truth beside the prediction.

    Args:
        scored: the set. image_id: of the picture.
        threshold: finds below this score are not drawn.
        lowest: of several expressions draw the one with the lowest IoU, else the one with the highest.

    Raises:
        FileNotFoundError: the picture is not there.
    """
    record = scored.records[scored.places[image_id]]
    text = ""
    if isinstance(scored.file, PanopticFile):
        truth, answer = _panoptic(scored.file, record)
    elif isinstance(scored.scorer, SemanticScorer):
        truth, answer = _classes(scored.scorer, record)
    elif isinstance(scored.scorer, ReferringScorer):
        asked = _expressions(scored.scorer, record, lowest=lowest)
        truth, answer = (_region(record, asked, side=side) for side in (0, 1))
        text = f"{asked.text!r}: IoU {asked.iou:.1f}, one of {len(record.expressions)} expressions"
    else:
        truth, answer = _finds(scored, record)
    image = load_image(record.image)
    sides = [draw_perception(side, image, threshold=threshold, title=False) for side in (truth, answer)]
    return Drawn(side_by_side(sides, ("truth", "prediction")), text)


def _panoptic(file: PanopticFile, record: Record) -> list[Perception]:
    vocabulary = record.vocabulary
    assert vocabulary is not None
    truth, answer = true_panoptic(record), file.read(record.image_id, record.size)
    places = [(truth.segment_map, {s["id"]: s["category_id"] for s in truth.segments})]
    places += [(answer.segment_map, {s["id"]: vocabulary.index_of(s["category_id"]) for s in answer.segments})]
    return [_perception(record, panoptic=_map(values, names, vocabulary=vocabulary)) for values, names in places]


def _map(values: np.ndarray, places: dict[int, int], *, vocabulary: Vocabulary) -> PanopticMap:
    segments = [
        SegmentInfo(id_, vocabulary.names[place], place, vocabulary.isthing[place], nan, int((values == id_).sum()))
        for id_, place in places.items()
    ]
    return PanopticMap(torch.from_numpy(np.asarray(values, np.int32)), segments)


def _classes(scorer: SemanticScorer, record: Record) -> list[Perception]:
    assert record.vocabulary is not None
    names = list(record.vocabulary.names)
    maps = [SemanticMap(torch.from_numpy(found), names) for found in (true_semantic(record), scorer.class_map(record))]
    return [_perception(record, task="semantic", semantic=found) for found in maps]


def _finds(scored: ScoredSet, record: Record) -> list[Perception]:
    assert isinstance(scored.scorer, DetectionScorer)
    vocabulary = record.vocabulary
    assert vocabulary is not None
    true = [a for a in record.annotations if a.isthing and a.label is not None]
    truth = [(list(a.box), nan, a.label, a.segmentation) for a in true]
    found = sorted(scored.scorer.finds(record), key=lambda entry: -entry["score"])
    answer = [
        ([x, y, x + w, y + h], entry["score"], entry["category_id"], entry.get("segmentation"))
        for entry in found
        for x, y, w, h in [entry["bbox"]]
    ]
    return [
        _perception(record, instances=_instances(rows, record.size, names=vocabulary.names)) for rows in (truth, answer)
    ]


def _instances(rows: list[tuple[Any, ...]], size: tuple[int, int], *, names: Sequence[str]) -> Instances:
    """From boxes XYXY_ABS, scores, positions of names and segmentations, of which all or none are there."""
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4)
    masks = None
    if rows and all(row[3] is not None for row in rows):
        masks = torch.from_numpy(np.stack([decode_mask(row[3], size) for row in rows]))
    scores, index = torch.tensor([row[1] for row in rows]), torch.tensor([row[2] for row in rows], dtype=torch.int64)
    return Instances(boxes, scores, [names[row[2]] for row in rows], index, masks)


@dataclass(frozen=True)
class _Asked:
    """An expression with true and answered mask (None: there is none), boxes where there are no masks, and the IoU."""

    text: str
    sides: tuple[np.ndarray | None, np.ndarray | None]
    boxes: tuple[Sequence[float] | None, Sequence[float] | None]
    iou: float


def _expressions(scorer: ReferringScorer, record: Record, *, lowest: bool) -> _Asked:
    file, counted = scorer.file, scorer.expressions
    assert isinstance(file, ReferringFile)
    # Boxes are judged for expressions with one target alone.
    judged = [e for e in record.expressions if counted.counts(record, e) and (file.masks or len(e.targets) == 1)]
    asked = [_asked(scorer, record, expression=expression) for expression in judged]
    return (min if lowest else max)(asked, key=lambda entry: entry.iou)


def _asked(scorer: ReferringScorer, record: Record, *, expression: Expression) -> _Asked:
    answer = scorer.answer(record, expression)
    targets = [record.annotations[target] for target in expression.targets]
    if answer.has_masks and all(target.segmentation is not None for target in targets):
        metric = ReferringIoU(scorer.expressions.protocol)
        truth = true_masks(record, expression, ignore_label=scorer.expressions.ignore_label)
        metric.update(answer.masks, truth, status=answer.status)
        shown = answer.masks
        if shown is not None and shown.ndim == 3:
            shown = shown.any(0)
        return _Asked(expression.text, (true_mask(record, expression), shown), (None, None), metric.compute()["gIoU"])
    true = targets[0].box if targets else None
    overlap = 0.0 if answer.box is None or true is None else 100 * box_iou(answer.box, true)
    return _Asked(expression.text, (None, None), (true, answer.box), overlap)


def _region(record: Record, asked: _Asked, *, side: int) -> Perception:
    mask, box = asked.sides[side], asked.boxes[side]
    if mask is not None and mask.any():
        masks = torch.from_numpy(mask)[None]
        instances = Instances(masks_to_boxes(masks), torch.tensor([nan]), [asked.text], torch.tensor([0]), masks)
        return _perception(record, instances=instances, task="referring")
    rows = [] if box is None else [(list(box), nan, 0, None)]
    return _perception(record, instances=_instances(rows, record.size, names=[asked.text]), task="referring")


def _perception(record: Record, *, task: str = "panoptic", **result: Any) -> Perception:
    return Perception(record.size, task, [], **result)
