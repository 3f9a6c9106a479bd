"""Referring segmentation: cumulative and generalised IoU, and the target/no-target accuracies of gRefCOCO."""

from typing import Any, NamedTuple

import numpy as np

from mvplm.evaluation.metric import Metric, percent

_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class _Score(NamedTuple):
    """One expression: shared pixels, pixels of either, whether something was predicted, whether something is there."""

    overlap: int
    union: int
    guessed: bool
    targeted: bool
    kind: str


class ReferringIoU(Metric):
    """cIoU, gIoU, Pr@t, N-acc and T-acc over expressions.

    An expression without a target scores IoU 1 and adds nothing to the cumulative sums when the prediction is empty;
    otherwise it scores 0 and its predicted pixels enter the union. Source: "GRES: Generalized Referring Expression
    Segmentation".
    """

    def update(self, predicted: np.ndarray | None, true: np.ndarray | None, *, kind: str = "", key: Any = None) -> None:
        """Add one expression.

        Args:
            predicted: (H, W) bool, or None for "nothing fits".
            true: (H, W) bool, or None for an expression without a target.
            kind: how the target is told apart; see :meth:`by_kind`.
            key: identifies the expression across ranks.

        Raises:
            ValueError: the masks differ in size.
        """
        guess = 0 if predicted is None else int(predicted.sum())
        target = 0 if true is None else int(true.sum())
        overlap = 0
        if predicted is not None and true is not None:
            if predicted.shape != true.shape:
                raise ValueError(f"predicted mask {predicted.shape} and true mask {true.shape} differ in size")
            overlap = int((predicted & true).sum())
        self._add(key, _Score(overlap, guess + target - overlap, guess > 0, target > 0, kind))

    def compute(self) -> dict[str, float]:
        """``cIoU gIoU Pr@0.5..0.9 N-acc T-acc`` in percent; N-acc and T-acc only where such expressions occur."""
        return _summary(self._gathered())

    def by_kind(self) -> dict[str, dict[str, float]]:
        """The same for the expressions of each kind that occurs."""
        entries = self._gathered()
        return {kind: _summary([e for e in entries if e.kind == kind]) for kind in sorted({e.kind for e in entries})}


def _summary(entries: list[_Score]) -> dict[str, float]:
    if not entries:
        return {}
    ious = [e.overlap / e.union if e.union else 1.0 for e in entries]
    out = {
        "cIoU": percent(sum(e.overlap for e in entries), sum(e.union for e in entries)),
        "gIoU": percent(sum(ious), len(ious)),
    }
    for threshold in _THRESHOLDS:
        out[f"Pr@{threshold}"] = percent(sum(iou > threshold for iou in ious), len(ious))
    absent = [e.guessed for e in entries if not e.targeted]
    present = [e.guessed for e in entries if e.targeted]
    if absent:
        out["N-acc"] = percent(sum(not guessed for guessed in absent), len(absent))
    if present:
        out["T-acc"] = percent(sum(present), len(present))
    return out
