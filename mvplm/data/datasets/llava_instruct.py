"""LLaVA-1.5's 665k conversations about pictures: questions and answers in words.

::

    llava_instruct/                          (or LLaVA-Tuning/, LLaVA-Instruct-150K/)
      llava_v1_5_mix665k.json
    coco/train2017/  gqa/images/  ocr_vqa/images/  textvqa/train_images/  vg/VG_100K/  vg/VG_100K_2/
                                             (in the same folder, or below the root)

The file is a list of ``{"id", "image", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, ...]}``.
Conversations without a picture are left out.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.indexed import IndexedRecords
from mvplm.data.datasets.llava import PLAN
from mvplm.data.datasets.places import either, need_place
from mvplm.data.images import image_size
from mvplm.data.index import JsonIndex, open_index
from mvplm.structures import Exchange, Record

NAME = "llava_v1_5_665k"
_FOLDERS = ("llava_instruct", "LLaVA-Tuning", "LLaVA-Instruct-150K")
_FILE = "llava_v1_5_mix665k.json"
_PLACES = tuple(f"{folder}/{_FILE}" for folder in _FOLDERS)
_PLACEHOLDER = "<image>"


def load_llava_instruct(root: str | Path, *, num: int | None = None) -> Sequence[Record]:
    """Records of the conversations with a picture.

    Args:
        root: folder of the datasets. num: only the first so many records.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: broken annotations, or ``num`` below 1.
    """
    path = need_place(root, *_PLACES)
    records: RecordSequence = LlavaConversations(open_index(path, PLAN), folders=(path.parent, Path(root)))
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=path.parent, images=path.parent, captions=path)
    return records


class LlavaConversations(IndexedRecords):
    """One conversation per picture; the size comes from the picture's header.

    Args:
        index: of the annotation file. folders: where the pictures may lie.
    """

    def __init__(self, index: JsonIndex, *, folders: Sequence[Path]) -> None:
        super().__init__(index)
        self._folders = list(folders)

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            FileNotFoundError: the picture is not there.
            ValueError: a conversation without an answer, or a picture that cannot be read.
        """
        item = self._index.item(index)
        places = [folder / item["image"] for folder in self._folders]
        image = next((place for place in places if place.is_file()), places[0])
        return Record(
            image_id=item["id"],
            image=image,
            size=image_size(image),
            source=NAME,
            exchanges=tuple(exchanges(item)),
            exhaustive=False,
        )


def exchanges(item: Mapping[str, Any]) -> list[Exchange]:
    """Questions with the answers that follow them, without the placeholder of the picture.

    Raises:
        ValueError: there is none; the message names the entry.
    """
    found, question = [], ""
    for turn in item.get("conversations") or ():
        text = str(turn.get("value", "")).replace(_PLACEHOLDER, "").strip()
        if turn.get("from") == "human":
            question = text
        elif question and text:
            found.append(Exchange(question, text))
            question = ""
    if not found:
        raise ValueError(f"entry {item.get('id')}: no question with an answer in its conversation")
    return found


ENTRIES = {NAME: CatalogEntry(partial(load_llava_instruct), needs=(either(*_PLACES),))}
