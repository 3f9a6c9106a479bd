"""What every dataset on disk shares: indexing from either end, and slices."""

from abc import abstractmethod
from collections.abc import Sequence
from operator import index as as_integer
from pathlib import PurePath
from typing import Any, Protocol

from mvplm.evaluation.detection_rules import DetectionRules
from mvplm.structures import Record


class SourceFiles(Protocol):
    """The files records were read from."""

    def hashes(self) -> dict[str, str]:
        """What identifies their contents, by name."""
        ...


class RecordSequence(Sequence[Record]):
    """A sequence of records, each built when it is asked for.

    Attributes:
        files: where they were read from, None for records without files.
        detection_rules: by which the set's own evaluation counts finds.
        collection: where the pictures come from when it is not COCO: "objects365" ...
    """

    files: SourceFiles | None = None
    detection_rules: DetectionRules = DetectionRules()
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

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``; sequences that know it without building the record override this."""
        return self.record(index).image_id

    @abstractmethod
    def record(self, index: int) -> Record:
        """Build the record at ``index`` in [0, len)."""


def picture_key(name: str, *, collection: str = "") -> str:
    """What a picture is known by in every edition of its dataset.

    COCO numbers pictures with twelve digits: "COCO_train2014_000000000009.jpg" is "9", as "000000000009.jpg" is. Other
    names are told apart as they are, those of another collection also by it: equal names there are other pictures.
    """
    stem = PurePath(name).stem
    if collection:
        return f"{collection}:{stem}"
    number = stem.rsplit("_", 1)[-1]
    return str(int(number)) if len(number) == 12 and number.isdecimal() else stem
