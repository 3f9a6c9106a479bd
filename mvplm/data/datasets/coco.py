"""COCO-format folders: panoptic maps, instances and captions as records.

JSON is parsed once, when the dataset is opened; records are built when they are asked for.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.datasets.base import RecordSequence
from mvplm.data.datasets.coco_files import (
    CocoFiles,
    captions_by_image,
    clean_category_names,
    find_coco_files,
)
from mvplm.data.datasets.coco_referring import CocoReferring
from mvplm.data.panoptic_png import read_panoptic
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.choices import check_choice
from mvplm.structures.masks import encode_mask, tight_box

ROLES = ("panoptic", "instance", "detection", "grounding", "referring", "caption")


def load_coco_folder(
    root: str | Path,
    *,
    split: str | None = None,
    role: str | None = None,
    clean_names: bool = True,
    masks_only: bool = False,
    num: int | None = None,
    **files: str | Sequence[str] | None,
) -> Sequence[Record]:
    """Records of a COCO-format folder.

    Args:
        root: the folder.
        split: which split's files to look for; see ``find_coco_files``.
        role: "panoptic": segments of the maps; "instance": instances with masks; "detection": their boxes only;
            "grounding": boxes with a phrase of their own; "referring": expressions and their targets; "caption":
            captions only. Captions, where there are any, come along with every role. None takes the first of panoptic,
            instance, referring and caption that the folder has.
        clean_names: strip the endings "-merged", "-other" and "-stuff" of category names.
        masks_only: leave out expressions with targets that have no mask.
        num: only the first so many records, in the order of the file; None takes all.
        **files: paths relative to ``root`` (see ``CocoFiles``) where they lie elsewhere.

    Raises:
        ValueError: unknown role, no file for the role, or ``num`` below 1.
        FileNotFoundError: a folder or file does not exist.
    """
    paths = find_coco_files(root, split=split, **files)
    return open_coco(paths, role=role, clean_names=clean_names, masks_only=masks_only, num=num)


def open_coco(
    files: CocoFiles,
    *,
    role: str | None = None,
    clean_names: bool = True,
    masks_only: bool = False,
    num: int | None = None,
    source: str | None = None,
) -> Sequence[Record]:
    """Records of the given files; arguments and errors as in ``load_coco_folder``."""
    role = files.richest_role() if role is None else check_choice("role", role, choices=ROLES)
    source = files.root.name if source is None else source
    records: RecordSequence
    if role == "panoptic":
        records = CocoPanoptic(files, source=source, clean_names=clean_names)
    elif role in ("instance", "detection", "grounding"):
        records = CocoInstances(files, source=source, clean_names=clean_names, role=role)
    elif role == "referring":
        records = CocoReferring(files, source=source, masks_only=masks_only)
    else:
        records = CocoCaptions(files, source=source)
    records.collection = files.collection
    records = records if num is None else FirstRecords(records, num)
    records.files = files
    return records


class FirstRecords(RecordSequence):
    """The first ``num`` records of a sequence, or all of them where there are fewer; its names are the sequence's.

    Raises:
        ValueError: ``num`` is below 1.
    """

    def __init__(self, records: RecordSequence, num: int) -> None:
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}")
        self._records = records
        self._num = min(num, len(records))
        self.vocabulary: Vocabulary | None = getattr(records, "vocabulary", None)
        self.name_groups = getattr(records, "name_groups", None)
        self.detection_rules = records.detection_rules

    def __len__(self) -> int:
        return self._num

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._records.image_id(index)

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        return self._records.record(index)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return self._records.picture(index)

    def picture_keys(self) -> list[str | None]:
        """Keys of the first pictures."""
        return self._records.picture_keys()[: self._num]


class CocoPanoptic(RecordSequence):
    """One record per panoptic map; the map is decoded when the record is asked for, boxes are those of the masks.

    Source: the COCO panoptic format (segment id = R + 256 G + 65536 B; 0 is void).
    """

    def __init__(self, files: CocoFiles, *, source: str, clean_names: bool = True) -> None:
        path = files.need("panoptic")
        data = files.read(path, "images", "annotations", "categories")
        self._masks = files.need("panoptic_masks")
        self._images = files.images
        self._source = source
        self.vocabulary = vocabulary_of(data["categories"], clean_names=clean_names)
        self._infos = {info["id"]: info for info in data["images"]}
        self._maps = [entry for entry in data["annotations"] if entry["image_id"] in self._infos]
        self._captions = captions_by_image(files)

    def __len__(self) -> int:
        return len(self._maps)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return str(self._infos[self._maps[index]["image_id"]]["file_name"])

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._maps[index]["image_id"]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        entry = self._maps[index]
        info = self._infos[entry["image_id"]]
        size = (int(info["height"]), int(info["width"]))
        ids = read_panoptic(self._masks / entry["file_name"], size)
        return Record(
            image_id=info["id"],
            image=self._images / info["file_name"],
            size=size,
            source=self._source,
            vocabulary=self.vocabulary,
            annotations=tuple(segment_annotations(ids, entry["segments_info"], vocabulary=self.vocabulary)),
            captions=self._captions.get(info["id"], ()),
        )


class CocoInstances(RecordSequence):
    """One record per picture of an instance file, pictures without any instance included.

    Args:
        files: where the parts lie.
        source: name for messages.
        clean_names: see ``clean_category_names``.
        role: "instance" keeps masks; "detection" keeps boxes; "grounding" keeps pictures and boxes with a "phrase".
    """

    def __init__(self, files: CocoFiles, *, source: str, clean_names: bool = True, role: str = "instance") -> None:
        data = files.read(files.need("instances"), "images", "annotations", "categories")
        self._images = files.images
        self._source = source
        self._role = role
        self._categories = data["categories"]
        self.vocabulary = vocabulary_of(self._categories, clean_names=clean_names)
        self._entries: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        for entry in data["annotations"]:
            if role != "grounding" or entry.get("phrase"):
                self._entries[entry["image_id"]].append(entry)
        self._infos = [info for info in data["images"] if role != "grounding" or info["id"] in self._entries]
        self._captions = captions_by_image(files)

    def __len__(self) -> int:
        return len(self._infos)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return str(self._infos[index]["file_name"])

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._infos[index]["id"]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        info = self._infos[index]
        annotations = [instance_annotation(entry, self.vocabulary) for entry in self._entries.get(info["id"], ())]
        if self._role != "instance":
            annotations = [replace(annotation, segmentation=None) for annotation in annotations]
        if self._role == "grounding":
            annotations = [replace(annotation, label=None) for annotation in annotations]
        return Record(
            image_id=info["id"],
            image=self._images / info["file_name"],
            size=(int(info["height"]), int(info["width"])),
            source=self._source,
            vocabulary=None if self._role == "grounding" else self.vocabulary,
            annotations=tuple(annotations),
            captions=self._captions.get(info["id"], ()),
            exhaustive=self._role != "grounding",
        )


class CocoCaptions(RecordSequence):
    """One record per picture with captions, and nothing else."""

    def __init__(self, files: CocoFiles, *, source: str) -> None:
        data = files.read(files.need("captions"), "images", "annotations")
        self._images = files.images
        self._source = source
        self._captions = captions_by_image(files)
        self._infos = [info for info in data["images"] if info["id"] in self._captions]

    def __len__(self) -> int:
        return len(self._infos)

    def picture(self, index: int) -> str | None:
        """File name of the picture at ``index``."""
        return str(self._infos[index]["file_name"])

    def image_id(self, index: int) -> int | str:
        """Id of the image at ``index``."""
        return self._infos[index]["id"]

    def record(self, index: int) -> Record:
        """The record at ``index`` in [0, len)."""
        info = self._infos[index]
        return Record(
            image_id=info["id"],
            image=self._images / info["file_name"],
            size=(int(info["height"]), int(info["width"])),
            source=self._source,
            captions=self._captions[info["id"]],
            exhaustive=False,
        )


def vocabulary_of(categories: Sequence[Mapping[str, Any]], *, clean_names: bool = True) -> Vocabulary:
    """Vocabulary of COCO categories in the file's order; without "isthing" every category is a thing."""
    names = [str(category["name"]).strip() for category in categories]
    return Vocabulary(
        tuple(clean_category_names(names) if clean_names else names),
        tuple(bool(category.get("isthing", 1)) for category in categories),
        tuple(int(category["id"]) for category in categories),
    )


def segment_annotations(
    ids: np.ndarray, segments: Sequence[Mapping[str, Any]], *, vocabulary: Vocabulary
) -> list[Annotation]:
    """Annotations of the listed segments that have pixels in a map ``ids`` (H, W); boxes are those of the pixels."""
    annotations = []
    for segment in segments:
        mask = ids == segment["id"]
        found = tight_box(mask)
        if found is None:
            continue
        box = found.tolist()
        label = vocabulary.index_of(segment["category_id"])
        annotations.append(
            Annotation(
                box=(box[0], box[1], box[2], box[3]),
                label=label,
                segmentation=encode_mask(mask),
                isthing=vocabulary.isthing[label],
                iscrowd=bool(segment.get("iscrowd", 0)),
                phrase=segment.get("phrase"),
                id=int(segment["id"]),
            )
        )
    return annotations


def instance_annotation(entry: Mapping[str, Any], vocabulary: Vocabulary | None) -> Annotation:
    """Annotation of a COCO instance entry (``bbox`` XYWH pixels); no label when ``vocabulary`` is None."""
    x, y, width, height = (float(value) for value in entry["bbox"])
    label = None if vocabulary is None else vocabulary.index_of(entry["category_id"])
    return Annotation(
        box=(x, y, x + max(width, 0.0), y + max(height, 0.0)),
        label=label,
        segmentation=entry.get("segmentation") or None,
        isthing=True if label is None or vocabulary is None else vocabulary.isthing[label],
        iscrowd=bool(entry.get("iscrowd", 0)),
        phrase=entry.get("phrase"),
        id=int(entry["id"]),
        area=None if entry.get("area") is None else float(entry["area"]),
    )
