"""What every dataset on disk shares: indexing from either end, and slices."""

from abc import abstractmethod
from collections.abc import Sequence
from operator import index as as_integer
from pathlib import PurePath
from typing import Any

from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.structures import Record


class RecordSequence(Sequence[Record]):
    """A sequence of records, each built when it is asked for.

    Attributes:
        files: where they were read from, None for records without files.
        collection: where the pictures come from, when numbers in their names are no COCO ids: "objects365" ...
    """

    files: CocoFiles | None = None
    collection: str = ""

    def __getitem__(self, index: Any) -> Any:
        """Record at ``index`` (negative counts from the end); a list of records for a slice."""
        if isinstance(index, slice):
            return [self.record(place) for place in range(*index.indices(len(self)))]
        place = as_integer(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"record {place} of {len(self)}")
        return self.record(place % len(self))

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index`` without building the record; None where it has no file."""
        return None

    def picture_keys(self) -> list[str | None]:
        """What each record's picture is known by in every dataset that holds it; None where it has no file."""
        names = (self.picture(index) for index in range(len(self)))
        return [None if name is None else picture_key(name, collection=self.collection) for name in names]

    @abstractmethod
    def record(self, index: int) -> Record:
        """Build the record at ``index`` in [0, len)."""


def picture_key(name: str, *, collection: str = "") -> str:
    """What a picture is known by in every edition of its dataset: "COCO_train2014_000000000009.jpg" is "9".

    Pictures of another collection carry its name, so that equal numbers are no equal pictures.
    """
    last = PurePath(name).stem.rsplit("_", 1)[-1]
    key = str(int(last)) if last.isdecimal() else PurePath(name).stem
    return f"{collection}:{key}" if collection else key
