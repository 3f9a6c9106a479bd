"""The truth that predictions are scored against, as a metrics file describes it."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mvplm.data.catalog import dataset_entry, get_dataset, list_datasets
from mvplm.data.views import prepared
from mvplm.evaluation import Protocol
from mvplm.structures import Record

# What a data set is asked for, where it can tell more than one thing and no option says which.
_ROLES = {"panoptic": "panoptic", "semantic": "panoptic", "detection": "instance", "referring": "referring"}


@dataclass(frozen=True)
class ScoredData:
    """The truth.

    Attributes:
        name: of the catalog, or a COCO folder. options: of the data set. limit: how many records (0: all).
        task: of the evaluation set whose data these are: its options then stand as they are. Empty for other data.
        prefix: first part of the names of results; None takes that of the metric.
        synonyms: of names with commas the "first" part, or all of it ("joined").
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 0
    task: str = ""
    prefix: str | None = None
    synonyms: str = "joined"

    def open(self, metric: str, protocol: Protocol | None = None) -> Sequence[Record]:
        """Records for a metric; expressions that the protocol merges are one.

        Raises:
            ValueError: neither a name nor a folder, a wrong option, no record, or nothing that the metric needs.
            FileNotFoundError: its files are not there.
        """
        options = dict(self.options)
        name = self.name
        if name not in list_datasets() and Path(name).is_dir():
            name, options["root"] = "coco_folder", name
        if not self.task and "role" in inspect.signature(dataset_entry(name).loader).parameters:
            options.setdefault("role", _ROLES[metric])
        records = get_dataset(name, **options)
        if not len(records):
            raise ValueError(f"data set {self.name} has no records to score {metric} on")
        merged = metric == "referring" and protocol is not None and protocol.expressions == "merged"
        return prepared(records, synonyms=self.synonyms, merged=merged)

    def described(self) -> dict[str, Any]:
        """As the metrics file has it; what is at its default is left out, but for name, options and limit."""
        known: dict[str, Any] = {"dataset": self.name, "options": dict(self.options), "limit": self.limit}
        more = {"task": self.task, "prefix": self.prefix}
        return known | {name: value for name, value in more.items() if value}
