"""What a codec loses: masks are encoded, decoded and compared with themselves. Source: the specification's oracle.

No model can be better than this with the same codec. Letters: N masks of one question, H x W pixels.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from mvplm.textmask.codecs import Codec, visible
from mvplm.textmask.profiles import LengthCounter, Profile
from mvplm.textmask.runs import tight_boxes

SIZES = ("all", "< 1 %", "1-5 %", ">= 5 %")
"""Objects by the share of the picture that their box covers."""
_EDGES = (0.01, 0.05)
_PRECISE = 0.9
_NEAR_BEST = 0.01


@dataclass(frozen=True)
class CeilingRow:
    """One profile on the objects of one size in one data set.

    Attributes:
        dataset, profile, size: what was measured; ``size`` is one of ``SIZES``. count: objects.
        mean_iou, ciou: mean overlap, and overlap of all pixels together, in [0, 1]. precise: share with IoU >= 0.9.
        vanished: share of which nothing is left on the grid.
        mean_length, length_95, longest: of the answers, in the unit of the counter; 95 of 100 are no longer.
        too_long: share of answers over the limit; None without one.
    """

    dataset: str
    profile: str
    size: str
    count: int
    mean_iou: float
    ciou: float
    precise: float
    vanished: float
    mean_length: float
    length_95: float
    longest: int
    too_long: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass
class _Column:
    """Measured values of one profile, one entry per object; length 0: it vanished."""

    shares: list[float] = field(default_factory=list)
    overlaps: list[int] = field(default_factory=list)
    unions: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


class Ceiling:
    """Collects objects and tells what each profile keeps of them.

    Args:
        profiles: what is compared. counter: of lengths. max_length: the most that an answer may have, or None.
    """

    def __init__(
        self, profiles: Sequence[Profile], counter: LengthCounter | None = None, *, max_length: int | None = None
    ) -> None:
        self.profiles, self.max_length = list(profiles), max_length
        self.counter = LengthCounter() if counter is None else counter
        self._columns: dict[tuple[str, str], _Column] = defaultdict(_Column)

    def update(self, masks: np.ndarray, labels: Sequence[str], *, dataset: str = "") -> None:
        """Add the objects bool (N, H, W) of one question with N labels; together they are one object here.

        Raises:
            ValueError: masks and labels do not fit together, or nothing is set.
        """
        there = masks.any((1, 2))
        if not there.any():
            raise ValueError("every mask of the question is empty: there is nothing to encode")
        x1, y1, x2, y2 = tight_boxes(np.any(masks, 0, keepdims=True))[0].tolist()
        share = (x2 - x1) * (y2 - y1) / masks[0].size
        for profile in self.profiles:
            kept = visible(masks, profile.codec)
            names = [label for label, seen in zip(labels, kept, strict=True) if seen]
            column = self._columns[dataset, profile.name]
            column.shares.append(share)
            self._measure(column, profile.codec, masks=masks, kept=masks[kept], labels=names)

    def _measure(
        self, column: _Column, codec: Codec, *, masks: np.ndarray, kept: np.ndarray, labels: Sequence[str]
    ) -> None:
        size = (masks.shape[1], masks.shape[2])
        truth, back, length = masks.any(0), np.zeros(size, bool), 0
        if len(kept):
            back = codec.decode(codec.encode(kept, labels), size).union
            length = self.counter(codec, kept, labels=labels)
        column.overlaps.append(int(np.count_nonzero(truth & back)))
        column.unions.append(int(np.count_nonzero(truth | back)))
        column.lengths.append(length)

    def rows(self) -> list[CeilingRow]:
        """By data set, profile and size; sizes without an object are left out."""
        found = []
        for (dataset, name), column in self._columns.items():
            place = np.digitize(column.shares, _EDGES)
            for number, size in enumerate(SIZES):
                chosen = place == number - 1 if number else np.ones(len(place), bool)
                if chosen.any():
                    found.append(self._row(column, chosen, about=(dataset, name, size)))
        return found

    def _row(self, column: _Column, chosen: np.ndarray, *, about: tuple[str, str, str]) -> CeilingRow:
        overlaps, unions = np.array(column.overlaps)[chosen], np.array(column.unions)[chosen]
        lengths = np.array(column.lengths)[chosen]
        written = lengths[lengths > 0] if lengths.any() else lengths
        ious = overlaps / unions
        return CeilingRow(
            *about,
            count=int(chosen.sum()),
            mean_iou=float(ious.mean()),
            ciou=float(overlaps.sum() / unions.sum()),
            precise=float((ious >= _PRECISE).mean()),
            vanished=float((lengths == 0).mean()),
            mean_length=float(written.mean()),
            length_95=float(np.percentile(written, 95)),
            longest=int(written.max()),
            too_long=None if self.max_length is None else float((written > self.max_length).mean()),
        )


def cheapest(rows: Sequence[CeilingRow]) -> CeilingRow | None:
    """Of the rows of one data set and size, the one with the shortest answers within one point of the best mean IoU."""
    best = max((row.mean_iou for row in rows), default=0.0)
    near_best = [row for row in rows if row.mean_iou >= best - _NEAR_BEST]
    return min(near_best, key=lambda row: row.mean_length, default=None)
