"""Precision over recall of one class, for the finds as they are or weighted by how often their picture was drawn."""

import numpy as np

RECALLS = np.linspace(0.0, 1.0, 101)
"""R values of recall at which precision is read; the very numbers of pycocotools."""


def precision_at_recalls(
    right: np.ndarray, judged: np.ndarray, *, objects: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Interpolated precision (W, R) in [0, 1]: the best at this recall or a higher one, 0 where it is not reached.

    Only right finds raise the recall, and between two of them precision falls, so it is read at right finds alone; a
    find that was drawn twice counts as two in a row.

    Args:
        right: (N,) bool, best find first. judged: (N,) bool, finds that are right or wrong.
        objects: (W,) true objects, above 0. weights: (W, N) float64, how often each find counts; once when None.
    """
    out = np.zeros((len(objects), len(RECALLS)))
    places = np.flatnonzero(right)
    if not len(places):
        return out
    if weights is None:
        weights = np.ones((1, len(right)))
    starts = np.concatenate([[0], places[:-1] + 1])
    until = weights[:, : places[-1] + 1] * judged[: places[-1] + 1]
    hits = weights[:, places].cumsum(1)
    precision = hits / (np.add.reduceat(until, starts, axis=1).cumsum(1) + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits / objects[:, None]
    for row, reached in enumerate(recall):
        at = reached.searchsorted(RECALLS)
        within = np.count_nonzero(at < len(places))  # recalls ascend
        out[row, :within] = precision[row, at[:within]]
    return out


def mean_or_none(values: np.ndarray) -> float | None:
    """Percent: mean of the values of classes that have objects (others are -1); None where no class has any."""
    known = values[values > -1]
    return 100.0 * float(np.mean(known)) if known.size else None
