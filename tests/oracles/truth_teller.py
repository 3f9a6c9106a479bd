"""A stand-in for a perceiver that answers every question with the annotations."""

from collections import deque
from collections.abc import Callable
from typing import Any

import torch

from mvplm.perceiver import Perceiver
from mvplm.structures import (
    Annotation,
    Batch,
    Expression,
    Instances,
    PanopticMap,
    Perception,
    Record,
    Sample,
    SegmentInfo,
    SemanticMap,
)
from mvplm.structures.masks import decode_mask

BOXES_ONLY = ("detection", "grounding", "rec")


class TruthTeller:
    """Looks at nothing: remembers which records its mapper saw and answers from their annotations.

    Args:
        perceiver: gives prompts, batches and settings.
        lie: changes an answer before it is given.
    """

    def __init__(self, perceiver: Perceiver, lie: Callable[[Perception], Perception] = lambda answer: answer) -> None:
        self.perceiver = perceiver
        self.config = perceiver.config
        self.collate = perceiver.collate
        self.lie = lie
        self.waiting: deque[tuple[Record, Expression | None]] = deque()
        self.sizes: list[int] = []

    def mapper(self, task: str, *, sentences: str | None = None) -> "_Listener":
        return _Listener(self, self.perceiver.mapper(task, sentences=sentences))

    def look(self, batch: Batch) -> list[tuple[Record, Expression | None, tuple[str, ...]]]:
        self.sizes.append(len(batch))
        return [(*self.waiting.popleft(), names) for names in batch.names]

    def answer(self, looked: list, *, task: str) -> list[Perception]:
        return [
            self.lie(truth(record, task=task, names=names, expression=expression))
            for record, expression, names in looked
        ]


class _Listener:
    """A mapper that tells its owner what passes."""

    def __init__(self, owner: TruthTeller, mapper: Any) -> None:
        self.owner, self.mapper, self.task = owner, mapper, mapper.task

    def __call__(self, record: Record, *, expression: int | None = None, **place: int) -> Sample:
        self.owner.waiting.append((record, None if expression is None else record.expressions[expression]))
        return self.mapper(record, expression=expression, **place)


def truth(
    record: Record, *, task: str, names: tuple[str, ...] = (), expression: Expression | None = None
) -> Perception:
    """The right answer to a task: ``names`` is the query (the vocabulary's names when empty)."""
    if expression is not None:
        return _sentence(record, expression, task=task)
    query = list(names or record.vocabulary.names)
    answer = Perception(record.size, task, query)
    labelled = [(a, query.index(record.vocabulary.names[a.label])) for a in _asked(record, query)]
    if task == "panoptic":
        answer.panoptic = _panoptic(record, labelled)
    elif task == "semantic":
        answer.semantic = SemanticMap(torch.full(record.size, -1), query)
        for annotation, place in labelled:
            answer.semantic.class_map[_mask(record, annotation)] = place
    else:
        answer.instances = _instances(record, labelled, query=query, masks=task not in BOXES_ONLY)
    return answer


def _asked(record: Record, query: list[str]) -> list[Annotation]:
    return [a for a in record.annotations if not a.iscrowd and record.vocabulary.names[a.label] in query]


def _panoptic(record: Record, labelled: list[tuple[Annotation, int]]) -> PanopticMap:
    found = PanopticMap(torch.zeros(record.size, dtype=torch.int32), [])
    for number, (annotation, place) in enumerate(labelled, start=1):
        mask = _mask(record, annotation)
        found.segment_map[mask] = number
        label = record.vocabulary.names[annotation.label]
        found.segments.append(SegmentInfo(number, label, place, annotation.isthing, 1.0, int(mask.sum())))
    return found


def _instances(
    record: Record, labelled: list[tuple[Annotation, int]], *, query: list[str], masks: bool, score: float = 0.9
) -> Instances:
    full = [torch.zeros(0, *record.size, dtype=torch.bool), *(_mask(record, a)[None] for a, _ in labelled if masks)]
    return Instances(
        torch.tensor([a.box for a, _ in labelled], dtype=torch.float32).reshape(-1, 4),
        torch.full((len(labelled),), score),
        [query[place] for _, place in labelled],
        torch.tensor([place for _, place in labelled], dtype=torch.int64),
        torch.cat(full) if masks else None,
    )


def _sentence(record: Record, expression: Expression, *, task: str) -> Perception:
    targets = [(record.annotations[place], 0) for place in expression.targets]
    masks = task not in BOXES_ONLY and all(a.segmentation is not None for a, _ in targets)
    query = [expression.text]
    found = _instances(record, targets, query=query, masks=masks)
    return Perception(record.size, task, query, instances=found, no_target=not targets, presence=float(bool(targets)))


def _mask(record: Record, annotation: Annotation) -> torch.Tensor:
    return torch.from_numpy(decode_mask(annotation.segmentation, record.size))
