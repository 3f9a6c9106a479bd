"""GoldG: phrases of a caption and the boxes they mean, in MDETR's format (Flickr30k entities; GQA mixed with others).

::

    flickr30k/flickr30k-images/*.jpg         (or flickr30k_images/)
    gqa/images/*.jpg                         (or visual_genome/images/, vg/images/)
    goldg/final_flickr_separateGT_train.json   ..._val.json   ..._test.json
    goldg/final_mixed_train.json             (or final_mixed_train_no_coco.json)
    visual_genome/image_data.json            (or in gqa/, vg/; optional)

The annotation files may also stand in ``mdetr_annotations/`` or beside the pictures. An image entry has a ``caption``,
an annotation its ``tokens_positive``: spans of characters in the caption. The OV-DINO variant gives an image its
``category_names`` instead and an annotation a ``category_id`` into them. Pictures with ``data_source`` "coco" are left
out. With Visual Genome's ``image_data.json`` its pictures that are COCO pictures, too, are known as such.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco import FirstRecords
from mvplm.data.datasets.coco_files import CocoFiles, read_json
from mvplm.data.datasets.entry import CatalogEntry
from mvplm.data.datasets.indexed import IndexedRecords, annotation_of, size_of
from mvplm.data.datasets.places import either, need_place
from mvplm.data.index import IndexPlan, JsonIndex, open_index
from mvplm.structures import Record

_TO_BLANK = str.maketrans("()_-", "    ")
_GENOME = ("visual_genome", "gqa", "vg")
_FLICKR = ("flickr30k/flickr30k-images", "flickr30k/flickr30k_images", "flickr30k/images", "flickr30k")
_GQA = tuple(f"{folder}/images" for folder in ("gqa", "visual_genome", "vg"))


def _has_phrase(entry: Mapping[str, Any]) -> bool:
    return bool(entry["tokens_positive"]) if "tokens_positive" in entry else "category_id" in entry


PLAN = IndexPlan(
    "goldg",
    extras=(),
    keep_item=lambda image: image.get("data_source") != "coco",
    keep_child=_has_phrase,
    need_children=True,
)


def load_flickr30k(root: str | Path, *, split: str, captions: bool = True, num: int | None = None) -> Sequence[Record]:
    """Sentences of Flickr30k entities, one record each; ``split`` is "train", "val" or "test".

    Args:
        root: folder of the datasets.
        split: which part.
        captions: let a record have its sentence as a caption.
        num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: broken annotations, or ``num`` below 1.
    """
    images = need_place(root, *_FLICKR)
    path = need_place(root, *_flickr_files(split))
    records = GoldG(open_index(path, PLAN), images=images, source=f"flickr30k_goldg_{split}", captions=captions)
    records.collection = "flickr30k"
    return _finished(records, path, images=images, num=num)


def load_gqa(root: str | Path, *, captions: bool = False, num: int | None = None) -> Sequence[Record]:
    """The mixed part (GQA, Visual Genome) without its COCO pictures.

    Args:
        root: folder of the datasets.
        captions: let a record have its text as a caption; it is a list of descriptions of regions, not of the picture.
        num: only the first so many records.

    Raises:
        FileNotFoundError: the files are not there.
        ValueError: broken annotations, or ``num`` below 1.
    """
    images, path = need_place(root, *_GQA), need_place(root, *_gqa_files())
    records = GoldG(open_index(path, PLAN), images=images, source="gqa_goldg_train", captions=captions)
    records.collection = "visual_genome"
    lists = [place for folder in _GENOME if (place := Path(root) / folder / "image_data.json").is_file()]
    if lists:
        records.coco_ids = {
            int(image["image_id"]): int(image["coco_id"]) for image in read_json(lists[0]) if image.get("coco_id")
        }
    return _finished(records, path, images=images, num=num)


def _flickr_files(split: str) -> tuple[str, ...]:
    return _files(f"final_flickr_separateGT_{split}.json", beside="flickr30k")


def _gqa_files() -> tuple[str, ...]:
    return _files("final_mixed_train.json", "final_mixed_train_no_coco.json", beside="gqa")


def _files(*names: str, beside: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for folder in ("goldg", "mdetr_annotations", beside) for name in names)


def _finished(records: RecordSequence, path: Path, *, images: Path, num: int | None) -> Sequence[Record]:
    records = records if num is None else FirstRecords(records, num)
    records.files = CocoFiles(root=path.parent, images=images, instances=(path,))
    return records


class GoldG(IndexedRecords):
    """Boxes with phrases, for grounding.

    Args:
        index: of the annotation file.
        images: folder of the pictures.
        source: name for messages.
        captions: let a record have its caption.

    Attributes:
        coco_ids: COCO id of the pictures that are COCO's, too, by their number.
    """

    def __init__(self, index: JsonIndex, *, images: Path, source: str, captions: bool) -> None:
        super().__init__(index)
        self._images = images
        self._source = source
        self._captions = captions
        self.coco_ids: dict[int, int] = {}

    def picture_keys(self) -> list[str | None]:
        """Keys of all pictures; COCO's id where the picture is known to be COCO's."""
        keys = super().picture_keys()
        if not self.coco_ids:
            return keys
        coco = {f"{self.collection}:{number}": str(coco_id) for number, coco_id in self.coco_ids.items()}
        return [key if key is None else coco.get(key, key) for key in keys]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            ValueError: a span outside the caption, or a category outside the picture's names.
        """
        entry = self._index.entry(index)
        item = entry.item
        caption = " ".join(str(item.get("caption", "")).split())
        return Record(
            image_id=item["id"],
            image=self._images / PurePath(item["file_name"]).name,
            size=size_of(item),
            source=self._source,
            annotations=tuple(annotation_of(child, phrase=phrase_of(child, item)) for child in entry.children),
            captions=(caption,) if self._captions and caption else (),
            exhaustive=False,
        )


def phrase_of(entry: Mapping[str, Any], image: Mapping[str, Any]) -> str | None:
    """Words of an annotation: its name among the picture's, else its spans of the caption, joined and cleaned.

    Raises:
        ValueError: a span outside the caption, or a category outside the picture's names.
    """
    names = image.get("category_names")
    if names:
        place = int(entry["category_id"])
        if not 0 <= place < len(names):
            raise ValueError(f"image {image['id']}: category {place} of {len(names)} names")
        return clean_phrase(str(names[place])) or None
    caption = str(image["caption"])
    spans = [(int(span[0]), int(span[1])) for span in entry["tokens_positive"]]
    for start, end in spans:
        if not 0 <= start < end <= len(caption):
            raise ValueError(f"image {image['id']}: span {start}:{end} in a caption of {len(caption)} characters")
    return clean_phrase(" ".join(caption[start:end] for start, end in spans)) or None


def clean_phrase(text: str) -> str:
    """Lower case, blanks for parentheses, underscores and hyphens, one blank between words."""
    return " ".join(text.lower().translate(_TO_BLANK).split())


ENTRIES = {
    **{
        f"flickr30k_goldg_{split}": CatalogEntry(
            partial(load_flickr30k, split=split), needs=(either(*_FLICKR), either(*_flickr_files(split)))
        )
        for split in ("train", "val", "test")
    },
    "gqa_goldg_train": CatalogEntry(load_gqa, needs=(either(*_GQA), either(*_gqa_files()))),
}
