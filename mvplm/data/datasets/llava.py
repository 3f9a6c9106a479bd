"""Pictures with one caption each, in LLaVA's format: the pre-training sets of the connector.

::

    llava_pretrain/                          (or LLaVA-Pretrain/)
      blip_laion_cc_sbu_558k.json
      images/00000/*.jpg ...                 (or 00000/ ... beside the file)
    cc3m_595k/                               (or LLaVA-CC3M-Pretrain-595K/)
      chat.json
      images/GCC_train_*.jpg                 (or beside the file)

The file is a list of ``{"id", "image", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}``; the
first answer is the caption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.indexed import IndexedRecords
from mvplm.data.datasets.places import either, need_place
from mvplm.data.images import image_size
from mvplm.data.index import IndexPlan, JsonIndex, open_index
from mvplm.structures import Record

PLAN = IndexPlan(
    "llava", items=None, children=None, extras=(), file_name="image", keep_item=lambda entry: "image" in entry
)


@dataclass(frozen=True)
class CaptionSet:
    """folders: where a set may lie; file: its annotation file."""

    folders: tuple[str, ...]
    file: str


SETS = {
    "llava_pretrain_558k": CaptionSet(("llava_pretrain", "LLaVA-Pretrain"), "blip_laion_cc_sbu_558k.json"),
    "cc3m_595k": CaptionSet(("cc3m_595k", "LLaVA-CC3M-Pretrain-595K"), "chat.json"),
}


def load_llava(root: str | Path, *, name: str, num: int | None = None) -> Sequence[Record]:
    """Records of one of ``SETS``.

    Args:
        root: folder of the datasets.
        name: which set.
        num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: broken annotations, or ``num`` below 1.
    """
    folder = need_place(root, *SETS[name].folders)
    path = need_place(folder, SETS[name].file)
    images = need_place(folder, "images", ".")
    records: RecordSequence = LlavaCaptions(open_index(path, PLAN), images=images, source=name)
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=folder, images=images, captions=path)
    return records


class LlavaCaptions(IndexedRecords):
    """One caption per picture; the size comes from the picture's header.

    Args:
        index: of the annotation file.
        images: folder of the pictures.
        source: name for messages and of the collection.
    """

    def __init__(self, index: JsonIndex, *, images: Path, source: str) -> None:
        super().__init__(index)
        self._images = images
        self._source = source
        self.collection = source

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: the picture is not there.
            ValueError: no answer, or a picture that cannot be read.
        """
        item = self._index.item(index)
        image = self._images / item["image"]
        return Record(
            image_id=item["id"],
            image=image,
            size=image_size(image),
            source=self._source,
            captions=(first_answer(item),),
            exhaustive=False,
        )


def first_answer(item: Mapping[str, Any]) -> str:
    """What the model says first, on one line. Raises ValueError when it says nothing."""
    for turn in item.get("conversations") or ():
        text = " ".join(str(turn.get("value", "")).split())
        if turn.get("from") == "gpt" and text:
            return text
    raise ValueError(f"entry {item.get('id')}: no answer in its conversation")


ENTRIES = {
    name: CatalogEntry(
        partial(load_llava, name=name), needs=(either(*(f"{folder}/{known.file}" for folder in known.folders)),)
    )
    for name, known in SETS.items()
}
