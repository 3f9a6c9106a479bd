"""Drawn records and answers of photo size, fed through evaluators and writers: 11 segments, 100 finds, 3 sentences."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from mvplm.data.streamed_list import Share
from mvplm.evaluation import make_evaluator
from mvplm.heap import EVERY, trim_heap
from mvplm.measuring.saved_predictions import PredictionSaver
from mvplm.structures import (
    Annotation,
    Expression,
    Instances,
    PanopticMap,
    Perception,
    Record,
    SegmentInfo,
    SemanticMap,
    Vocabulary,
)
from mvplm.structures.masks import encode_mask

SIZE, SEGMENTS, FINDS, SENTENCES, NAMES, DRAWN = (480, 640), 11, 100, 3, 133, 8
TASKS = ("panoptic", "semantic", "instance", "referring")


class DrawnAnswers:
    """Pictures with a number each; a ``with`` block around the writers.

    Args:
        part: one of ``TASKS`` (its evaluator), "writers" (of all tasks) or "all" (evaluators and writers).
        folder: for the writers.
    """

    def __init__(self, part: str, folder: Path) -> None:
        self._vocabulary = Vocabulary(tuple(f"name {place}" for place in range(NAMES)))
        tasks = TASKS if part in ("writers", "all") else (part,)
        self._evaluators = {task: make_evaluator(task, self._vocabulary) for task in tasks}
        self._opened = ExitStack()
        self._savers = {}
        if part in ("writers", "all"):
            for task, evaluator in self._evaluators.items():
                saver = PredictionSaver(folder / task, evaluator, vocabulary=self._vocabulary, share=Share())
                self._savers[task] = self._opened.enter_context(saver)
        self._measured = part != "writers"
        rng = np.random.default_rng(0)
        self._maps = [_regions(rng, SEGMENTS) for _ in range(DRAWN)]
        self._finds = [_instances(rng, FINDS) for _ in range(2)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def update(self, index: int) -> None:
        """Measure and write the answers about picture ``index``; codes and records are made anew, as a reader would.

        Freed memory is given back as often as an evaluation does.
        """
        if index % EVERY == EVERY - 1:
            trim_heap()
        segment_map = self._maps[index % DRAWN]
        record = _record(index, segment_map, vocabulary=self._vocabulary)
        for task, evaluator in self._evaluators.items():
            for expression in record.expressions if task == "referring" else (None,):
                answers = {asked: self._answer(asked, index) for asked in evaluator.tasks}
                if self._measured:
                    evaluator.update(record, answers, expression=expression)
                if task in self._savers:
                    self._savers[task].write(record, answers, expression=expression, place=index)

    def finish(self) -> None:
        """Work out what an evaluation writes: results, intervals and tables."""
        for evaluator in self._evaluators.values() if self._measured else ():
            evaluator.compute()
            evaluator.intervals()
            evaluator.tables()
            trim_heap()

    def _answer(self, asked: str, index: int) -> Perception:
        answer = Perception(SIZE, asked, list(self._vocabulary.names))
        shifted = torch.from_numpy(np.roll(self._maps[index % DRAWN], index % 19, axis=1))
        if asked == "panoptic":
            segments = [SegmentInfo(i, f"name {i}", i, True, 0.9, 1) for i in range(1, SEGMENTS + 1)]
            answer.panoptic = PanopticMap(shifted, segments)
        elif asked == "semantic":
            answer.semantic = SemanticMap(shifted.long(), answer.query)
        else:
            found = self._finds[index % len(self._finds)]
            answer.instances = found if asked == "instance" else found.keep(torch.arange(1))
        return answer


def _regions(rng: np.random.Generator, number: int) -> np.ndarray:
    """Map (H, W) int32: pixels go to the nearest of ``number`` points, numbered from 1; edges are not straight."""
    points = rng.random((number, 2)) * SIZE
    rows, columns = np.arange(SIZE[0])[:, None, None], np.arange(SIZE[1])[None, :, None]
    wave = 12 * np.sin(columns / 17) + 7 * np.sin(rows / 5)
    owner = ((rows + wave - points[:, 0]) ** 2 + (columns + wave - points[:, 1]) ** 2).argmin(-1)
    return (owner + 1).astype(np.int32)


def _instances(rng: np.random.Generator, count: int) -> Instances:
    """Ellipses of any place and size with their frames."""
    rows, columns = np.arange(SIZE[0])[:, None], np.arange(SIZE[1])[None, :]
    masks, boxes = [], []
    for _ in range(count):
        y, x = rng.random(2) * SIZE
        height, width = rng.uniform(8, 90, 2)
        masks.append(((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1)
        boxes.append((x - width, y - height, x + width, y + height))
    labels = rng.integers(0, NAMES, count)
    return Instances(
        torch.tensor(boxes, dtype=torch.float32),
        torch.from_numpy(rng.random(count).astype(np.float32)),
        [f"name {label}" for label in labels],
        torch.from_numpy(labels),
        torch.from_numpy(np.stack(masks)),
    )


def _record(index: int, segment_map: np.ndarray, *, vocabulary: Vocabulary) -> Record:
    whole = (0.0, 0.0, float(SIZE[1]), float(SIZE[0]))
    present = [int(i) for i in np.unique(segment_map)]
    annotations = tuple(Annotation(whole, i, encode_mask(segment_map == i)) for i in present)
    texts = tuple(Expression(f"what is {i} in picture {index}", (i,), "drawn", id=i) for i in range(SENTENCES))
    picture = np.zeros((1, 1, 3), np.uint8)
    return Record(index, picture, SIZE, vocabulary=vocabulary, annotations=annotations, expressions=texts)
