"""Records of any dataset as a plain COCO folder that ``coco_folder`` reads: the way to other tools, and back.

A segment of a map keeps its annotation's id where all ids of the picture fit into a map and differ.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mvplm.data.images import load_image
from mvplm.data.panoptic_png import write_panoptic
from mvplm.data.preparation import whole_file, write_json
from mvplm.data.segments import segment_entries
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import decode_mask, mask_area

_LARGEST_ID = 256**3 - 1


@dataclass
class _Lists:
    """Contents of the files being written."""

    images: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)


def write_coco_folder(records: Sequence[Record], folder: str | Path, *, split: str, panoptic: bool = False) -> Path:
    """Write records and their pictures as a COCO folder: instances (things) and captions, on request panoptic maps.

    Args:
        records: records with one list of names.
        folder: where to; existing files of the split are replaced.
        split: name of the split in file names.
        panoptic: also write maps of all annotations.

    Returns:
        The folder.

    Raises:
        ValueError: no record, no list of names or several; for maps a missing mask, or masks that overlap.
    """
    folder, lists = Path(folder), _Lists()
    vocabulary: Vocabulary | None = None
    for record in records:
        if record.vocabulary is None or vocabulary not in (None, record.vocabulary):
            raise ValueError(f"image {record.image_id}: a COCO folder needs records with one list of names")
        vocabulary = record.vocabulary
        name = _write_picture(record, folder / "images" / split)
        height, width = record.size
        lists.images.append({"id": record.image_id, "file_name": name, "height": height, "width": width})
        _add_instances(lists, record, vocabulary=vocabulary)
        for text in record.captions:
            lists.captions.append({"id": len(lists.captions) + 1, "image_id": record.image_id, "caption": text})
        if panoptic:
            _add_map(lists, record, vocabulary=vocabulary, folder=folder / f"panoptic_{split}")
    if vocabulary is None:
        raise ValueError("there is no record to write")
    _write_lists(lists, folder / "annotations", split=split, categories=_categories(vocabulary))
    return folder


def _write_lists(lists: _Lists, folder: Path, *, split: str, categories: list[dict[str, Any]]) -> None:
    things = [category for category in categories if category["isthing"]]
    contents = {
        "instances": {"annotations": lists.instances, "categories": things},
        "panoptic": {"annotations": lists.maps, "categories": categories},
        "captions": {"annotations": lists.captions},
    }
    for name, data in contents.items():
        if data["annotations"] or name == "instances":
            write_json({"images": lists.images, **data}, folder / f"{name}_{split}.json")


def _categories(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    rows = zip(vocabulary.dataset_ids, vocabulary.names, vocabulary.isthing, strict=True)
    return [{"id": id_, "name": name, "isthing": int(isthing)} for id_, name, isthing in rows]


def _write_picture(record: Record, folder: Path) -> str:
    """Copy the file, or write an array as PNG; the name of the picture."""
    if isinstance(record.image, np.ndarray):
        name = f"{record.image_id}.png"
        with whole_file(folder / name) as part:
            Image.fromarray(load_image(record.image)).save(part)
    else:
        name = Path(record.image).name
        with whole_file(folder / name) as part:
            shutil.copyfile(record.image, part)
    return name


def _add_instances(lists: _Lists, record: Record, *, vocabulary: Vocabulary) -> None:
    for annotation in record.annotations:
        if not annotation.isthing or annotation.label is None:
            continue
        x1, y1, x2, y2 = annotation.box
        area = (x2 - x1) * (y2 - y1)
        if annotation.segmentation is not None:
            area = mask_area(annotation.segmentation, record.size)
        entry = {
            "id": len(lists.instances) + 1,
            "image_id": record.image_id,
            "category_id": vocabulary.dataset_ids[annotation.label],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": area,
            "iscrowd": int(annotation.iscrowd),
            "segmentation": annotation.segmentation,
        }
        lists.instances.append(entry)


def _add_map(lists: _Lists, record: Record, *, vocabulary: Vocabulary, folder: Path) -> None:
    numbers = _segment_ids(record.annotations)
    ids = np.zeros(record.size, np.int64)
    for number, annotation in zip(numbers, record.annotations, strict=True):
        if annotation.segmentation is None or annotation.label is None:
            raise ValueError(f"image {record.image_id}: a panoptic map needs masks and labels on every annotation")
        mask = decode_mask(annotation.segmentation, record.size)
        if ids[mask].any():
            raise ValueError(f"image {record.image_id}: masks overlap, a panoptic map cannot hold them")
        ids[mask] = number
    labels = [vocabulary.dataset_ids[a.label] for a in record.annotations if a.label is not None]
    crowds = [number for number, a in zip(numbers, record.annotations, strict=True) if a.iscrowd]
    name = f"{Path(lists.images[-1]['file_name']).stem}.png"
    with whole_file(folder / name) as part:
        write_panoptic(ids, part)
    segments = segment_entries(ids, dict(zip(numbers, labels, strict=True)), crowds=crowds)
    lists.maps.append({"image_id": record.image_id, "file_name": name, "segments_info": segments})


def _segment_ids(annotations: Sequence[Annotation]) -> list[int]:
    own = [a.id for a in annotations]
    if all(id_ is not None and 0 < id_ <= _LARGEST_ID for id_ in own) and len(set(own)) == len(own):
        return [id_ for id_ in own if id_ is not None]
    return list(range(1, len(own) + 1))
