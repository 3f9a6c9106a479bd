"""detectron2's model inputs as records: pictures, instances, semantic and panoptic ground truth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mvplm.interop.detectron2_names import DatasetNames
from mvplm.structures import Annotation, Record
from mvplm.structures.boxes import masks_to_boxes
from mvplm.structures.choices import check_choice
from mvplm.structures.masks import Segmentation, encode_mask

IMAGE_FORMATS = ("RGB", "BGR")
Entry = Mapping[str, Any]


def to_record(
    entry: Entry, names: DatasetNames, *, image_format: str = "RGB", position: int = 0, target: str | None = None
) -> Record:
    """One entry of detectron2's model input.

    Args:
        entry: ``image`` (3, H, W), values 0 to 255 of any type; ``image_id`` or ``file_name`` for messages; for targets
            the ground truth of :func:`to_annotations`.
        names: of the dataset.
        image_format: order of the channels, "RGB" or "BGR" (``cfg.INPUT.FORMAT``).
        position: place in the batch, the id of an entry that has none.
        target: task whose ground truth is read; none when None.

    Raises:
        ValueError: no or a wrong ``image``, or ground truth that is missing or does not fit the image or the names.
    """
    check_choice("image format", image_format, choices=IMAGE_FORMATS)
    image_id = entry.get("image_id", entry.get("file_name", position))
    if "image" not in entry:
        raise ValueError(f"image {image_id}: an input needs the key 'image', got {', '.join(sorted(entry))}")
    picture = _picture(entry["image"], image_format, image_id=image_id)
    size = (int(picture.shape[0]), int(picture.shape[1]))
    annotations: list[Annotation] = []
    if target is not None:
        annotations = to_annotations(entry, names, task=target, where=f"image {image_id}", size=size)
    return Record(image_id, picture, size, vocabulary=names.vocabulary, annotations=tuple(annotations))


def to_annotations(
    entry: Entry, names: DatasetNames, *, task: str, where: str, size: tuple[int, int]
) -> list[Annotation]:
    """The ground truth of an entry, all of it in the frame of its image.

    Args:
        entry: any of ``panoptic_seg``: (map (H, W), list of ``{id, category_id, isthing, iscrowd}``), the form in which
            results come out; ``instances`` with ``gt_classes`` and ``gt_boxes`` or ``gt_masks`` (BitMasks, PolygonMasks
            or a tensor (N, H, W)); ``sem_seg`` (H, W). A panoptic map tells all; else things are the instances, and
            stuff what the semantic map says of names that no instance has.
        names: of the dataset.
        task: "semantic" takes things from ``sem_seg``, too, one region per name.
        where: how messages call the image. size: its (H, W).

    Raises:
        ValueError: none of the three keys, another size, or a class that the dataset has not.
    """
    if not {"panoptic_seg", "instances", "sem_seg"} & set(entry):
        raise ValueError(f"{where}: training needs 'panoptic_seg', 'instances' or 'sem_seg', got {sorted(entry)}")
    if task == "semantic" and "sem_seg" in entry:
        return _of_classes(entry["sem_seg"], names, where=where, size=size)
    if "panoptic_seg" in entry:
        return _of_segments(*entry["panoptic_seg"], names=names, where=where, size=size)
    annotations = _of_instances(entry["instances"], names, where=where, size=size) if "instances" in entry else []
    if "sem_seg" in entry:
        # Loaders of panoptic data sets put stuff among the instances: then the map has nothing to add about it.
        told = {annotation.label for annotation in annotations}
        regions = _of_classes(entry["sem_seg"], names, where=where, size=size)
        annotations += [region for region in regions if not region.isthing and region.label not in told]
    return annotations


def output_size(entry: Entry) -> tuple[int, int]:
    """(H, W) an entry wants its results in: ``height`` and ``width``, else the size of ``image``."""
    height, width = entry["image"].shape[-2:]
    return int(entry.get("height", height)), int(entry.get("width", width))


def _picture(image: Tensor, image_format: str, *, image_id: int | str) -> np.ndarray:
    """RGB uint8 (H, W, 3) of a tensor (3, H, W) whose values lie in 0 to 255."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image {image_id}: 'image' must be a tensor (3, H, W), got {tuple(image.shape)}")
    values = image.detach().cpu()
    if values.dtype != torch.uint8:
        values = values.float().round().clamp(0, 255).to(torch.uint8)
    if image_format == "BGR":
        values = values.flip(0)
    return np.ascontiguousarray(values.permute(1, 2, 0).numpy())


def _of_instances(instances: Any, names: DatasetNames, *, where: str, size: tuple[int, int]) -> list[Annotation]:
    masks = _segmentations(instances, where=where, size=size)
    boxes = instances.gt_boxes.tensor.tolist() if instances.has("gt_boxes") else None
    places = names.by_class
    annotations = []
    for index, number in enumerate(instances.gt_classes.tolist()):
        place = _place(places, number, where=where, what="gt_classes")
        segmentation = None if masks is None else masks[index]
        isthing = names.vocabulary.isthing[place]
        if boxes is None and not isinstance(segmentation, _Region):
            raise ValueError(f"{where}: instances need gt_boxes, or gt_masks that are bitmaps")
        box = segmentation.box if boxes is None or isinstance(segmentation, _Region) else tuple(boxes[index])
        code = segmentation.code if isinstance(segmentation, _Region) else segmentation
        if box is not None:
            annotations.append(Annotation(box, place, code, isthing=isthing))
    return annotations


class _Region:
    """A bitmap (H, W) as run-length code, and its box (x1, y1, x2, y2) or None when it is empty."""

    def __init__(self, mask: np.ndarray) -> None:
        self.code: Segmentation = encode_mask(mask)
        box = masks_to_boxes(torch.from_numpy(mask)[None])[0].tolist() if mask.any() else None
        self.box: tuple[float, float, float, float] | None = None if box is None else tuple(box)


def _segmentations(instances: Any, *, where: str, size: tuple[int, int]) -> list[Any] | None:
    """One region or list of polygons per instance; None without masks."""
    if not instances.has("gt_masks"):
        return None
    masks = instances.gt_masks
    if hasattr(masks, "polygons"):
        return [[np.asarray(polygon).tolist() for polygon in polygons] for polygons in masks.polygons]
    bitmaps = masks.tensor if hasattr(masks, "tensor") else masks
    _check_size(bitmaps, size, where=where, what="gt_masks")
    return [_Region(mask) for mask in bitmaps.detach().cpu().bool().numpy()]


def _of_classes(class_map: Tensor, names: DatasetNames, *, where: str, size: tuple[int, int]) -> list[Annotation]:
    """One region per name of a map (H, W) of contiguous ids."""
    _check_size(class_map, size, where=where, what="sem_seg")
    values, places, annotations = class_map.detach().cpu().numpy(), names.by_channel, []
    for number in np.unique(values).tolist():
        if number == names.ignore_label:
            continue
        if not 0 <= number < names.channels:
            raise ValueError(f"{where}: sem_seg holds {number}, the dataset has {names.channels} classes")
        if number in places:
            region, place = _Region(values == number), places[number]
            assert region.box is not None
            annotations.append(Annotation(region.box, place, region.code, isthing=names.vocabulary.isthing[place]))
    return annotations


def _of_segments(
    segment_map: Tensor, segments: Any, *, names: DatasetNames, where: str, size: tuple[int, int]
) -> list[Annotation]:
    """One region per segment of a panoptic map (H, W) of segment ids; crowds are kept as crowds."""
    _check_size(segment_map, size, where=where, what="panoptic_seg")
    values, annotations = segment_map.detach().cpu().numpy(), []
    for segment in segments:
        places = names.by_class if segment.get("isthing", True) else names.by_channel
        place = _place(places, int(segment["category_id"]), where=where, what="panoptic_seg")
        region = _Region(values == segment["id"])
        if region.box is not None:
            isthing, crowd = names.vocabulary.isthing[place], bool(segment.get("iscrowd", 0))
            annotations.append(Annotation(region.box, place, region.code, isthing=isthing, iscrowd=crowd))
    return annotations


def _place(places: Mapping[int, int], number: int, *, where: str, what: str) -> int:
    if number not in places:
        raise ValueError(f"{where}: {what} holds class {number}, the dataset has {sorted(places)}")
    return places[number]


def _check_size(tensor: Tensor, size: tuple[int, int], *, where: str, what: str) -> None:
    if tuple(tensor.shape[-2:]) != size:
        raise ValueError(f"{where}: {what} has size {tuple(tensor.shape[-2:])}, the image {size} (H, W)")
