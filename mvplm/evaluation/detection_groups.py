"""Average precision of groups of names, with tables and intervals, for the finds of a model and those of a file."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

from mvplm.evaluation.detection import DetectionAP, paired_intervals
from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.evaluation.intervals import Interval
from mvplm.evaluation.tables import Table
from mvplm.structures.vocabulary import Vocabulary

_T = TypeVar("_T")
CHEAP_FINDS = 1_000_000
"""Finds, boxes and masks counted apart, up to which intervals come with an evaluation: about a minute."""


class DetectionGroups:
    """Average precision under the names of a metrics file: ``detection/*``, or ``GROUP/*`` for each group of names.

    Args:
        vocabulary: of the data.
        masks: also score masks.
        groups: name of a group -> names it holds; without groups there is one of all things, "detection".
        rules: what counts.

    Attributes:
        ap: takes the pictures. groups: name -> positions. names: of all classes.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        masks: bool,
        groups: Mapping[str, Sequence[str]] | None = None,
        rules: DetectionRules | None = None,
    ) -> None:
        self.names = vocabulary.names
        self.groups = class_groups(vocabulary, groups)
        classes = sorted({place for places in self.groups.values() for place in places})
        self.ap = DetectionAP(len(vocabulary), classes, masks=masks, rules=rules)

    def compute(self) -> dict[str, float]:
        """``GROUP/{box_AP,box_AP50,mask_AP ...}``, see ``DetectionAP.compute``."""
        return _joined(self.ap.compute_groups(self.groups))

    def tables(self) -> dict[str, Table]:
        """``GROUP/per_class`` and ``GROUP/per_size``."""
        classes, out = self.ap.per_class(), {}
        for group, places in self.groups.items():
            rows = {self.names[place]: classes[place] for place in places if place in classes}
            sizes = self.ap.per_size(places)
            del sizes["all"]
            out[f"{group}/per_class"] = Table.of_groups("name", rows)
            out[f"{group}/per_size"] = Table.of_groups("size", sizes)
        return out

    def intervals(self) -> dict[str, Interval]:
        """``GROUP/{box_AP,box_AP50,box_AP75 ...}``; empty without pictures or above ``CHEAP_FINDS``."""
        table = self.ap.table()
        finds = len(self.ap.kinds) * sum(len(found.scores) for _, found in table.items())
        if not table.pictures or finds > CHEAP_FINDS:
            return {}
        return _joined({group: self.ap.intervals(places) for group, places in self.groups.items()})

    def differences(self, other: "DetectionGroups") -> dict[str, Interval]:
        """Intervals of ``other - self`` in points, of groups that both have. Raises ValueError: other pictures."""
        shared = [group for group in self.groups if group in other.groups]
        if not len(self.ap) or not len(other.ap):
            return {}
        return _joined(
            {
                group: paired_intervals(self.ap, other.ap, classes=(self.groups[group], other.groups[group]))
                for group in shared
            }
        )


def class_groups(vocabulary: Vocabulary, groups: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[int]]:
    """Positions of the names of each group; without groups one of all things, "detection"."""
    if not groups:
        return {"detection": [place for place, isthing in enumerate(vocabulary.isthing) if isthing]}
    places = {cleaned(name): place for place, name in enumerate(vocabulary.names)}
    return {group: [places[cleaned(name)] for name in names] for group, names in groups.items()}


def cleaned(name: str) -> str:
    """A name as prompts and answers spell it: runs of whitespace collapsed."""
    return " ".join(name.split())


def _joined(found: Mapping[str, Mapping[str, _T]]) -> dict[str, _T]:
    return {f"{group}/{name}": value for group, values in found.items() for name, value in values.items()}
