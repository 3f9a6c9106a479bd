"""Masks drawn as text, one character per pixel, and what a protocol makes of them."""

from collections.abc import Sequence

import numpy as np
import pytest

from mvplm.evaluation import ReferringIoU
from mvplm.evaluation.protocols import Protocol

Drawing = str | Sequence[str] | None


def drawn(picture: Drawing) -> np.ndarray | None:
    """uint8 (1, W) of "#" (1), "?" (255) and "." (0); (n, 1, W) of a list of them; None stays None."""
    if picture is None:
        return None
    if not isinstance(picture, str):
        return np.stack([drawn(one) for one in picture])
    return np.array([[{"#": 1, "?": 255, ".": 0}[pixel] for pixel in picture]], np.uint8)


def measured(protocol: Protocol | str, *samples: tuple) -> dict[str, float]:
    """Numbers over samples (predicted, true), (predicted, true, status) or (predicted, true, status, image)."""
    metric = ReferringIoU(protocol)
    for sample in samples:
        predicted, true, status, image = (*sample, *("answered", None)[len(sample) - 2 :])
        metric.update(drawn(predicted), drawn(true), status=status, image=image)
    return metric.compute()


def expected(thresholds: Sequence[float], *, c: float, g: float, pr=None, n=None, t=None):
    """All numbers that must come out, from shares: cIoU, gIoU, Pr@t in the order of thresholds, N-acc and T-acc."""
    shares = {"cIoU": c, "gIoU": g, "N-acc": n, "T-acc": t}
    if pr is not None:
        shares |= {f"Pr@{at}": share for at, share in zip(thresholds, pr, strict=True)}
    found = {name: 100 * share for name, share in shares.items() if share is not None}
    return pytest.approx(found, rel=1e-12, abs=1e-12)
