"""Records over an index: what all readers of giant annotation files share."""

from collections.abc import Mapping
from typing import Any

from mvplm.data.datasets.base import RecordSequence, picture_key
from mvplm.data.index import JsonIndex
from mvplm.structures import Annotation


class IndexedRecords(RecordSequence):
    """One record per item of an index; pictures are known without building a record."""

    def __init__(self, index: JsonIndex) -> None:
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return self._index.file_name(index)

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._index.item_id(index)

    def picture_keys(self) -> list[str | None]:
        """Keys of all pictures, in one pass over the index."""
        names = self._index.file_names()
        return [None if name is None else picture_key(name, collection=self.collection) for name in names]


def annotation_of(entry: Mapping[str, Any], **known: Any) -> Annotation:
    """Annotation of an entry: its ``bbox`` (XYWH pixels, negative sides count as none), crowd flag and id.

    Args:
        entry: of the annotation file.
        **known: label, segmentation or phrase.
    """
    x, y, width, height = (float(value) for value in entry["bbox"])
    return Annotation(
        box=(x, y, x + max(width, 0.0), y + max(height, 0.0)),
        iscrowd=bool(entry.get("iscrowd", 0)),
        id=int(entry["id"]),
        area=None if entry.get("area") is None else float(entry["area"]),
        **known,
    )


def size_of(item: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of an image entry."""
    return (int(item["height"]), int(item["width"]))
