"""Evaluator of phrase grounding: every picture has a list of phrases of its own."""

from collections.abc import Mapping

from mvplm.evaluation.grounding import GroundingRecall
from mvplm.evaluation.intervals import Interval
from mvplm.evaluation.named import named_intervals
from mvplm.evaluation.tables import Table
from mvplm.structures.record import Expression, Record
from mvplm.structures.results import Perception


class GroundingEvaluator:
    """Recall of phrases. Keys ``grounding/R@k`` (any box) and ``grounding/merged/R@k`` (merged boxes).

    Objects of a picture with the same words make one phrase, as they are asked for once; crowds are left out.
    """

    tasks = ("grounding",)

    def __init__(self) -> None:
        self.recall = GroundingRecall()

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add all phrases of one image; a phrase that was not asked for has no boxes."""
        answer = answers["grounding"]
        true: dict[str, list[tuple[float, float, float, float]]] = {}
        for annotation in record.annotations:
            if annotation.phrase is not None and not annotation.iscrowd:
                true.setdefault(" ".join(annotation.phrase.split()), []).append(annotation.box)
        found = _boxes(answer)
        for phrase, boxes in true.items():
            key = (record.image_id, phrase)
            self.recall.update(found.get(phrase, []), boxes, image=record.image_id, key=key)

    def compute(self) -> dict[str, float]:
        """``grounding/*``."""
        return {f"grounding/{name}": value for name, value in self.recall.compute().items()}

    def intervals(self) -> dict[str, Interval]:
        """Intervals of all of them."""
        return named_intervals({"grounding": self.recall.image_sums()})

    def tables(self) -> dict[str, Table]:
        """``grounding/per_size``, sizes of the smallest box around all boxes of a phrase."""
        sizes = self.recall.per_size()
        return {"grounding/per_size": Table.of_groups("size", sizes)} if sizes else {}


def _boxes(answer: Perception) -> dict[str, list[list[float]]]:
    """Phrase -> boxes XYXY_ABS, best first."""
    found: dict[str, list[list[float]]] = {}
    if answer.instances is None:
        return found
    order = answer.instances.scores.argsort(descending=True, stable=True)
    labels, boxes = answer.instances.class_index[order].tolist(), answer.instances.boxes[order].tolist()
    for label, box in zip(labels, boxes, strict=True):
        found.setdefault(" ".join(answer.query[label].split()), []).append(box)
    return found
