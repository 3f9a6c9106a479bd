"""From a written answer to a ``Perception``: labels resolved, instances ranked, maps painted."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from mvplm.models.text_mask.model import TextMaskModel
from mvplm.models.text_mask.writing import Written
from mvplm.structures import Instances, PanopticMap, Perception, SegmentInfo, SemanticMap
from mvplm.structures.written import WrittenAnswer
from mvplm.textmask import IsdCodec, TextMaskResult
from mvplm.textmask.labels import canonical, resolve

BOX_TASKS = ("detection", "rec")


@dataclass(frozen=True)
class Asked:
    """What an answer is about.

    Attributes:
        task: of the result. size: (H, W). names: names of classes, or the one expression. isthing: their flags.
        listed: ``names`` is a list that every label must come from; otherwise labels are what the model says.
        box_only: the question asks for boxes, so an answer without masks is whole.
    """

    task: str
    size: tuple[int, int]
    names: tuple[str, ...]
    isthing: tuple[bool, ...] = ()
    listed: bool = False
    box_only: bool = False


def perceive_answer(model: TextMaskModel, written: Written, *, asked: Asked) -> Perception:
    """The result of one answer.

    A result without instances always says why: ``no_target``, or the status of ``written``.
    """
    options: dict[str, Any] = (
        {"labels": list(asked.names)} if asked.listed and isinstance(model.codec, IsdCodec) else {}
    )
    result = model.read(written, asked.size, **options)
    repairs = dict(result.repairs)
    instances = _instances(model, written, result=result, asked=asked, repairs=repairs)
    status = _status(result, repairs, box_only=asked.box_only)
    nothing = instances.masks is None or not bool(instances.masks.any())
    empty = not len(instances) or (nothing and not asked.box_only and asked.task not in BOX_TASKS)
    no_target = status == "no_target" or (empty and status in ("ok", "repaired"))
    found = Perception(asked.size, asked.task, list(asked.names), no_target=no_target)
    found.presence = float(instances.scores.max()) if len(instances) else 0.0
    text = result.answer.raw_text
    found.written = WrittenAnswer(text, status, repairs, len(written.ids), written.finished)
    if asked.task == "semantic":
        found.semantic = semantic_map(instances, asked)
    elif asked.task == "panoptic":
        found.panoptic = panoptic_map(instances, asked)
    found.instances = replace(instances, masks=None) if asked.task in BOX_TASKS else instances
    return found


def _status(result: TextMaskResult, repairs: dict[str, int], *, box_only: bool) -> str:
    if box_only and result.status == "invalid" and len(result.box_only_boxes):
        return "repaired" if repairs else "ok"
    return "repaired" if result.status == "ok" and repairs else result.status


def _instances(
    model: TextMaskModel, written: Written, *, result: TextMaskResult, asked: Asked, repairs: dict[str, int]
) -> Instances:
    """Instances best first; what was done to labels is counted in ``repairs``."""
    scores = model.scores(written, result)
    blocks = result.answer.instances
    painted = [place for place, block in enumerate(blocks) if block.grid is not None]
    located = [place for place, block in enumerate(blocks) if block.grid is None and block.box is not None]
    boxes = np.concatenate([result.boxes, result.box_only_boxes]).astype(np.float32)
    labels = [*result.labels, *result.box_only_labels]
    values = [scores[place].score for place in (*painted, *located)]
    index = [place_of_label(label, asked, repairs=repairs) for label in labels]
    masks = np.concatenate([result.masks, np.zeros((len(located), *asked.size), bool)])
    kept = sorted((i for i in range(len(labels)) if index[i] is not None), key=lambda i: (-values[i], i))
    return Instances(
        boxes=torch.from_numpy(boxes[kept]).reshape(-1, 4),
        scores=torch.tensor([values[i] for i in kept], dtype=torch.float32),
        labels=[asked.names[index[i] or 0] if asked.listed else labels[i] for i in kept],
        class_index=torch.tensor([index[i] or 0 for i in kept], dtype=torch.int64),
        masks=torch.from_numpy(masks[kept]),
    )


def place_of_label(label: str, asked: Asked, *, repairs: dict[str, int]) -> int | None:
    """Position of a label among the names; None: it is none of them, and the instance is left out."""
    names = [canonical(name) for name in asked.names]
    if asked.listed:
        found = resolve(label, names)
        if found is None:
            repairs["label_unknown"] = repairs.get("label_unknown", 0) + 1
            return None
        return names.index(found)
    if names and not label.startswith("roi") and resolve(label, names) is None:
        repairs["label_mismatch"] = repairs.get("label_mismatch", 0) + 1
    return 0


def semantic_map(instances: Instances, asked: Asked) -> SemanticMap:
    """The best instance of every pixel."""
    classes = torch.full(asked.size, -1, dtype=torch.int64)
    assert instances.masks is not None
    for place in reversed(range(len(instances))):
        classes[instances.masks[place]] = instances.class_index[place]
    return SemanticMap(classes, list(asked.names))


def panoptic_map(instances: Instances, asked: Asked) -> PanopticMap:
    """Things one by one, stuff of one name together; the best instance of every pixel has it."""
    owner = torch.zeros(asked.size, dtype=torch.int32)
    segments: list[SegmentInfo] = []
    stuff: dict[int, SegmentInfo] = {}
    assert instances.masks is not None
    for place in range(len(instances)):
        index = int(instances.class_index[place])
        free = instances.masks[place] & (owner == 0)
        area = int(free.sum())
        if not area:
            continue
        segment = stuff.get(index)
        if segment is None:
            thing, score = bool(asked.isthing[index]), float(instances.scores[place])
            segment = SegmentInfo(len(segments) + 1, asked.names[index], index, thing, score, 0)
            segments.append(segment)
            if not thing:
                stuff[index] = segment
        segment.area += area
        owner[free] = segment.id
    return PanopticMap(owner, segments)
