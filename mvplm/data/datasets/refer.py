"""What the referring sets over COCO's format share: refs with their sentences, and the instances they point at."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.datasets.base import RecordSequence, picture_key
from mvplm.data.datasets.coco_files import read_json
from mvplm.data.datasets.indexed import annotation_of, size_of
from mvplm.data.datasets.places import either
from mvplm.data.index import IndexEntry, IndexPlan, JsonIndex, open_index
from mvplm.structures import Expression, Record
from mvplm.structures.choices import check_choice
from mvplm.structures.masks import decode_mask, encode_mask
from mvplm.structures.pickles import read_array_pickle

FOLDERS = ("refer", "refer_seg", ".")
"""Folders that hold ``refcoco/``, ``refclef/`` ... and the pictures under ``images/``."""

COCO_IMAGES = (
    *(f"{folder}/images/{place}train2014" for folder in FOLDERS for place in ("mscoco/images/", "mscoco/", "")),
    *(f"{folder}/{place}" for place in ("train2014", "images/train2014") for folder in ("coco", "coco2014")),
    *(f"coco/{place}" for place in ("train2017", "images/train2017")),
)
"""Where COCO's training pictures may lie; those of 2014 are all among those of 2017."""

GROUPS = ("ref", "image")
PLAN = IndexPlan("refer", extras=())
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ref:
    """Sentences about the same objects.

    Attributes:
        image_id: of the instance file. annotation_ids: the objects; none where nothing fits.
        sentences: (sentence id, text) pairs. file_name: picture, as the file writes it.
    """

    image_id: int
    annotation_ids: tuple[int, ...]
    sentences: tuple[tuple[int, str], ...]
    file_name: str


def refs_places(dataset: str, by: str) -> tuple[str, ...]:
    """Where the refs of a dataset may lie: a JSON file for gRefCOCO, pickles for the others."""
    name = f"grefs({by}).json" if dataset == "grefcoco" else f"refs({by}).p"
    return tuple(f"{folder}/{dataset}/{name}" for folder in FOLDERS)


def refer_needs(dataset: str, by: str, *, images: tuple[str, ...]) -> tuple[str, ...]:
    """What a ``CatalogEntry`` says that a dataset needs: refs, instances, and pictures at one of ``images``."""
    instances = (f"{folder}/{dataset}/instances.json" for folder in FOLDERS)
    return (either(*refs_places(dataset, by)), either(*instances), either(*images))


def read_entries(path: Path) -> list[Any]:
    """The list of refs in a file; a pickle is read without running anything in it.

    Raises:
        ValueError: not a list, a ref without picture or split, or a pickle of anything but plain data.
    """
    entries = read_json(path) if path.suffix == ".json" else read_array_pickle(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path} must hold a list of refs, got {type(entries).__name__}")
    for entry in entries:
        if not isinstance(entry, Mapping) or "image_id" not in entry or "split" not in entry:
            raise ValueError(f"{path}: malformed ref {str(entry)[:200]}: it needs image_id and split")
    return entries


def read_refs(entries: Iterable[Mapping[str, Any]], *, split: str, path: Path) -> list[Ref]:
    """The refs of a split. Sentences without words are left out, with a warning.

    Raises:
        ValueError: malformed entry, or no ref in that split; the message names the file.
    """
    refs, splits, empty = [], set(), 0
    for entry in entries:
        try:
            splits.add(str(entry["split"]))
            if not _in_split(str(entry["split"]), split):
                continue
            said = [(int(item["sent_id"]), " ".join(str(item["sent"]).split())) for item in entry["sentences"]]
            sentences = tuple(pair for pair in said if pair[1])
            empty += len(said) - len(sentences)
            found = entry["ann_id"] if isinstance(entry["ann_id"], (list, tuple)) else [entry["ann_id"]]
            ids = tuple(int(id_) for id_ in found if int(id_) >= 0)
            refs.append(Ref(int(entry["image_id"]), ids, sentences, str(entry["file_name"])))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: malformed ref {str(entry)[:200]} ({error!r})") from error
    if not refs:
        raise ValueError(f"{path}: no ref of split {split!r} (splits: {', '.join(sorted(splits))})")
    if empty:
        _log.warning("%s: %d sentences of split %s without words are left out", path, empty, split)
    return [ref for ref in refs if ref.sentences]


def _in_split(found: str, split: str) -> bool:
    """RefCLEF's "testAB" belongs to testA and to testB."""
    return found == split or (
        len(split) == 5 and split.startswith("test") and found.startswith("test") and split[-1] in found[4:]
    )


class ReferRecords(RecordSequence):
    """Expressions and the objects they refer to; the instance file is opened when the first record is built.

    Args:
        refs: what was said, in order.
        instances: instance file that the annotation ids point into.
        images: folder of the pictures.
        per: one record per "ref" (one object, its sentences) or per "image" (all its refs together).
        source: name for messages.
        collection: of the pictures; "" for COCO's.

    Raises:
        ValueError: unknown ``per``.
    """

    def __init__(
        self, refs: Sequence[Ref], *, instances: Path, images: Path, per: str, source: str, collection: str = ""
    ) -> None:
        check_choice("per", per, choices=GROUPS)
        self.collection = collection
        self._instances = instances
        self._images = images
        self._source = source
        self._index: JsonIndex | None = None
        groups: dict[int, list[Ref]] = {}
        for place, ref in enumerate(refs):
            groups.setdefault(ref.image_id if per == "image" else place, []).append(ref)
        self._groups = list(groups.values())

    def __len__(self) -> int:
        return len(self._groups)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``, with the number of the ref that the file adds to it."""
        return self._groups[index][0].file_name

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._groups[index][0].image_id

    def picture_keys(self) -> list[str | None]:
        """Ids of the pictures: these sets name them by COCO's own."""
        return [picture_key(str(group[0].image_id), collection=self.collection) for group in self._groups]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len).

        Raises:
            ValueError: a picture or an annotation that is not in the instance file.
        """
        group = self._groups[index]
        entry = self._entry(group[0].image_id)
        known = {int(child["id"]): child for child in entry.children}
        places: dict[int, int] = {}
        expressions = []
        for ref in group:
            targets = tuple(places.setdefault(id_, len(places)) for id_ in ref.annotation_ids)
            expressions += [Expression(text, targets, _kind(targets), id_) for id_, text in ref.sentences]
        lost = sorted(set(places) - set(known))
        if lost:
            raise ValueError(f"{self._instances}: image {group[0].image_id} has no annotation {lost[0]}")
        return Record(
            image_id=group[0].image_id,
            image=self._path(entry.item["file_name"]),
            size=size_of(entry.item),
            source=self._source,
            annotations=tuple(
                annotation_of(known[id_], segmentation=_one_code(known[id_].get("segmentation"))) for id_ in places
            ),
            expressions=tuple(expressions),
            exhaustive=False,
        )

    def _entry(self, image_id: int) -> IndexEntry:
        if self._index is None:
            self._index = open_index(self._instances, PLAN)
        place = self._index.place_of(image_id)
        if place is None:
            raise ValueError(f"{self._instances} has no image {image_id}")
        return self._index.entry(place)

    def _path(self, file_name: str) -> Path:
        """COCO's edition of 2017 holds the same pictures under their bare numbers."""
        if self._images.name == "train2017":
            return self._images / file_name.rsplit("_", 1)[-1]
        return self._images / file_name


def _kind(targets: tuple[int, ...]) -> str:
    return "none" if not targets else "multiple" if len(targets) > 1 else ""


def _one_code(segmentation: Any) -> Any:
    """Polygons and run-length codes as they are; a list of codes, as RefCLEF has it, as one code."""
    if not isinstance(segmentation, list) or not segmentation or not isinstance(segmentation[0], Mapping):
        return segmentation or None
    if len(segmentation) == 1:
        return segmentation[0]
    return encode_mask(np.logical_or.reduce([decode_mask(code) for code in segmentation]))
