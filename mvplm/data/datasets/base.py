"""What every dataset on disk shares: indexing from either end, and slices."""

from abc import abstractmethod
from collections.abc import Sequence
from operator import index as as_integer
from typing import Any

from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.structures import Record


class RecordSequence(Sequence[Record]):
    """A sequence of records, each built when it is asked for.

    Attributes:
        files: where they were read from, None for records without files.
    """

    files: CocoFiles | None = None

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

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``; sequences that know it without building the record override this."""
        return self.record(index).image_id

    @abstractmethod
    def record(self, index: int) -> Record:
        """Build the record at ``index`` in [0, len)."""
