"""What the pictures of a set scored one by one, and which names were taken for which."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mvplm.analysis.matches import Matches, match_finds
from mvplm.analysis.results import ScoredSet
from mvplm.data.panoptic_files import PanopticFile
from mvplm.data.prediction_files import SemanticFile
from mvplm.evaluation.named import named_by_image
from mvplm.measuring.scorers import DetectionScorer, SemanticScorer
from mvplm.structures import Vocabulary

_BY_PICTURE = {
    "panoptic": ("panoptic/PQ",),
    "semantic": ("semantic/mIoU",),
    "referring": ("grec/gIoU", "rec/Acc@0.5"),
}


@dataclass(frozen=True)
class PictureScores:
    """metric: what each picture is judged by. values: id of an image -> percent; those without anything to score are
    left out."""

    metric: str
    values: dict[Any, float]

    def worst(self, count: int) -> list[Any]:
        """Ids of so many images, the worst first."""
        return sorted(self.values, key=lambda image: (self.values[image], str(image)))[:count]

    def best(self, count: int) -> list[Any]:
        """Ids of so many images, the best first."""
        return sorted(self.values, key=lambda image: (-self.values[image], str(image)))[:count]


@dataclass(frozen=True)
class Confusion:
    """Names taken for others.

    Attributes:
        names: K of them. table: (K, K) or (K, K + 1) true names by predicted ones. totals: (K,) what a share is of.
        unit: what is counted.
    """

    names: Sequence[str]
    table: np.ndarray
    totals: np.ndarray
    unit: str

    def most_frequent(self, count: int) -> list[list[Any]]:
        """Rows of true name, predicted name, how many, and percent of all of the true name; the most frequent first."""
        off = self.table[:, : len(self.names)].copy()
        np.fill_diagonal(off, 0)
        order = np.argsort(-off, axis=None, kind="stable")[:count]
        pairs = [divmod(int(place), off.shape[1]) for place in order]
        return [
            [self.names[true], self.names[found], int(off[true, found]), 100 * off[true, found] / self.totals[true]]
            for true, found in pairs
            if off[true, found]
        ]

    def most_confused(self, count: int) -> list[int]:
        """Positions of so many names with the most mistakes, in the order of the names."""
        off = self.table[:, : len(self.names)].copy()
        np.fill_diagonal(off, 0)
        wrong = off.sum(0) + off.sum(1)
        chosen = [int(place) for place in np.argsort(-wrong, kind="stable")[:count] if wrong[place]]
        return sorted(chosen)


def matches_of(scored: ScoredSet) -> Matches | None:
    """Finds beside true objects; None for what is no set of detections."""
    if not isinstance(scored.scorer, DetectionScorer):
        return None
    records = [scored.records[place] for place in range(len(scored))]
    return match_finds(scored.scorer, records, names=len(vocabulary_of(scored)))


def picture_scores(scored: ScoredSet, matches: Matches | None = None) -> PictureScores:
    """PQ, mIoU, mean IoU (or accuracy) of the expressions, or F1 of finds of every picture by itself.

    Args:
        scored: the set. matches: its ``matches_of``, which detections need.
    """
    if matches is not None:
        values = zip(scored.places, matches.by_image().tolist(), strict=True)
        return PictureScores("F1", {image: value for image, value in values if not np.isnan(value)})
    sums = scored.scorer.image_sums()
    found = {name: named_by_image(sums, name) for name in _BY_PICTURE[scored.metric]}
    name = next((name for name, values in found.items() if values), next(iter(found)))
    return PictureScores(scored.full_names().get(name, name), found[name])


def confusion_of(scored: ScoredSet, matches: Matches | None = None) -> Confusion | None:
    """Finds, or pixels, of one name taken for another; None for expressions.

    Args:
        scored: the set. matches: its ``matches_of``, which detections need.
    """
    if matches is not None:
        names = vocabulary_of(scored).names
        return Confusion(names, matches.confusion(), np.maximum(matches.objects.sum(0), 1), "objects")
    if not isinstance(scored.file, PanopticFile | SemanticFile):
        return None
    scorer = scored.scorer
    if not isinstance(scorer, SemanticScorer):
        scorer = replace(scored, advance=lambda: None).scored_by("semantic")
    assert isinstance(scorer, SemanticScorer)
    table = scorer.confusion()
    return Confusion(vocabulary_of(scored).names, table, np.maximum(table.sum(1), 1), "pixels")


def vocabulary_of(scored: ScoredSet) -> Vocabulary:
    """The names of a set of objects or regions."""
    vocabulary = scored.records[0].vocabulary
    assert vocabulary is not None
    return vocabulary
