"""Matches of all pictures, class by class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mvplm.evaluation.matching import AREAS, PictureMatches, unpack


@dataclass(frozen=True)
class Outcomes:
    """right, judged: (A, T, N) bool of N finds; a find that is judged and not right is wrong."""

    right: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class ClassMatches:
    """All that is known of one class: N finds over all pictures, and its true objects in M pictures.

    Attributes:
        scores: (N,) float64, best first; equal ones in the order of pictures.
        picture: (N,) row of the picture of each. rank: (N,) place among the finds of the class in that picture.
        counted: (N,) bool, within the limit per picture.
        outcomes: "box", "mask" -> (N, bytes) packed.
        where: (M,) row of pictures. present: (M, A) true objects there.
    """

    scores: np.ndarray
    picture: np.ndarray
    rank: np.ndarray
    counted: np.ndarray
    outcomes: Mapping[str, np.ndarray]
    where: np.ndarray
    present: np.ndarray

    @property
    def objects(self) -> np.ndarray:
        """(A,) true objects."""
        return self.present.sum(0)

    def unpacked(self, kind: str, keep: np.ndarray) -> Outcomes:
        """Outcomes of the finds at ``keep``, (N,) bool or a slice."""
        return Outcomes(*unpack(self.outcomes[kind][keep]))


class MatchTable:
    """Matches of pictures, laid out by class.

    Args:
        pictures: in the order that decides between equal scores.
        kinds: of outcomes.
    """

    def __init__(self, pictures: Sequence[PictureMatches], *, kinds: Sequence[str]) -> None:
        self.pictures = len(pictures)
        finds = _joined([p.finds for p in pictures], np.zeros(0, np.int32))
        classes = _joined([p.classes for p in pictures], np.zeros(0, np.int32))
        at = np.repeat(np.arange(len(pictures)), [len(p.classes) for p in pictures])
        rank = np.arange(finds.sum()) - np.repeat(finds.cumsum() - finds, finds)
        columns = {
            "scores": _joined([p.scores for p in pictures], np.zeros(0)),
            "picture": np.repeat(at, finds),
            "rank": rank,
            "counted": _joined([p.counted for p in pictures], np.zeros(0, bool)),
        }
        none = np.zeros((0, 0), np.uint8)
        packed = {kind: _joined([p.outcomes[kind] for p in pictures if len(p.scores)], none) for kind in kinds}
        labels = np.repeat(classes, finds)
        order = np.lexsort((-columns["scores"], labels))
        labels = labels[order]
        present = _joined([p.objects for p in pictures], np.zeros((0, len(AREAS)), np.int32))
        self._classes: dict[int, ClassMatches] = {}
        for label in np.unique(classes):
            first, last = np.searchsorted(labels, [label, label + 1])
            chosen = order[first:last]
            rows = np.flatnonzero((classes == label) & present.any(1))
            self._classes[int(label)] = ClassMatches(
                **{name: column[chosen] for name, column in columns.items()},
                outcomes={kind: bits[chosen] for kind, bits in packed.items()},
                where=at[rows],
                present=present[rows],
            )

    def items(self) -> Iterator[tuple[int, ClassMatches]]:
        """Classes with finds or true objects, by position."""
        return iter(self._classes.items())

    def get(self, label: int) -> ClassMatches | None:
        """One class; None where nothing was found and nothing is there."""
        return self._classes.get(label)


def _joined(parts: Sequence[np.ndarray], nothing: np.ndarray) -> np.ndarray:
    return np.concatenate(parts) if parts else nothing
