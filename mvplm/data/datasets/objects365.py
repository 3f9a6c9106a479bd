"""Objects365 v2: 365 names, boxes only, 1.7 million pictures.

::

    objects365/
      annotations/zhiyuan_objv2_train.json   zhiyuan_objv2_val.json
      images/train/patch0/*.jpg ...          images/val/patch0/*.jpg ...

The annotation files may also stand in ``objects365/`` or ``objects365/{split}/``, the pictures in ``{split}/images/``
or ``{split}/``, with or without the folders ``v1`` and ``v2`` of the original archives.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.indexed import IndexedRecords, annotation_of, size_of
from mvplm.data.datasets.places import either, need_place
from mvplm.data.index import IndexPlan, JsonIndex, open_index
from mvplm.structures import Record, Vocabulary

FOLDERS = ("objects365", "objects365v2", "Objects365v2")
PLAN = IndexPlan("objects365")


def load_objects365(root: str | Path, *, split: str, num: int | None = None) -> Sequence[Record]:
    """Records of a split ("train" or "val").

    Args:
        root: folder of the datasets.
        split: which half.
        num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: broken annotations, or ``num`` below 1.
    """
    folder = need_place(root, *FOLDERS)
    path, images = need_place(folder, *_files(split)), need_place(folder, *_pictures(split))
    records: RecordSequence = Objects365(open_index(path, PLAN), images=images, source=f"objects365_v2_{split}")
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=folder, images=images, instances=(path,))
    return records


def _files(split: str) -> tuple[str, ...]:
    name = f"zhiyuan_objv2_{split}.json"
    return (f"annotations/{name}", name, f"{split}/{name}")


def _pictures(split: str) -> tuple[str, ...]:
    return (f"images/{split}", f"{split}/images", split)


class Objects365(IndexedRecords):
    """Boxes with one of the file's names, which are lower-cased and stripped.

    Args:
        index: of the annotation file.
        images: folder with the ``patch`` folders, or with ``v1`` and ``v2``.
        source: name for messages.
    """

    collection = "objects365"

    def __init__(self, index: JsonIndex, *, images: Path, source: str) -> None:
        super().__init__(index)
        self._images = images
        self._source = source
        self._parts = 3 if any((images / version).is_dir() for version in ("v1", "v2")) else 2
        categories = index.extra("categories")
        self.vocabulary = Vocabulary(
            tuple(str(category["name"]).strip().lower() for category in categories),
            dataset_ids=tuple(int(category["id"]) for category in categories),
        )

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        entry = self._index.entry(index)
        parts = PurePosixPath(entry.item["file_name"]).parts[-self._parts :]
        return Record(
            image_id=entry.item["id"],
            image=self._images.joinpath(*parts),
            size=size_of(entry.item),
            source=self._source,
            vocabulary=self.vocabulary,
            annotations=tuple(
                annotation_of(child, label=self.vocabulary.index_of(child["category_id"])) for child in entry.children
            ),
        )


ENTRIES = {
    f"objects365_v2_{split}": CatalogEntry(
        partial(load_objects365, split=split),
        needs=tuple(
            either(*(f"{folder}/{place}" for folder in FOLDERS for place in places))
            for places in (_files(split), _pictures(split))
        ),
    )
    for split in ("train", "val")
}
