"""The evaluator of referring expressions: segmentation and comprehension, by a protocol."""

from collections.abc import Mapping

import numpy as np

from mvplm.evaluation.expressions import ExpressionAnswer, ExpressionMetrics
from mvplm.structures.record import Expression, Record
from mvplm.structures.results import Perception


class ReferringEvaluator(ExpressionMetrics):
    """Referring segmentation and comprehension of a model; see ``ExpressionMetrics``."""

    tasks = ("res", "gres", "rec")

    def update(
        self, record: Record, answers: Mapping[str, Perception], *, expression: Expression | None = None
    ) -> None:
        """Add one expression."""
        if expression is None:
            raise ValueError(f"image {record.image_id}: the referring evaluator needs an expression")
        if self.counts(record, expression):
            self.add(record, expression, answer=self.answer(answers))

    def answer(self, answers: Mapping[str, Perception]) -> ExpressionAnswer:
        """What a model's answers to ``tasks`` say, in the form that is measured and written."""
        merged = self.protocol.targets == "union"
        best, every = answers["res"], answers["gres"]
        boxes = [] if answers["rec"].instances is None else answers["rec"].instances.boxes.tolist()
        masks = _masks(every, merged=merged)
        status = "unparsed" if every.unparsed else "no_target" if masks is None and every.no_target else "answered"
        return ExpressionAnswer(
            masks=masks,
            best=_masks(best, merged=merged),
            box=tuple(boxes[0]) if boxes else None,
            status=status,
            has_masks=best.instances is None or best.instances.masks is not None,
        )


def _masks(answer: Perception, *, merged: bool) -> np.ndarray | None:
    """The answered masks (n, H, W) bool, or their union (H, W); None when there are none."""
    masks = None if answer.instances is None else answer.instances.masks
    if masks is None or not len(masks):
        return None
    return (masks.any(0) if merged else masks).cpu().numpy()
