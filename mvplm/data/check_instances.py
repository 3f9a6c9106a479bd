"""Checking instance files: boxes, masks, crowds, and LVIS' lists of what was looked for.

Quirks that the official files have are warnings: crowd areas larger than their mask, boxes that pass the border by less
than a pixel, areas of polygons that differ from their pixels.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from mvplm.data.check_lists import ImageList, check_against_table, check_categories, check_images
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.problems import CheckReport
from mvplm.structures.masks import decode_mask, tight_box

_BORDER = 1.0
_BOX_TOLERANCE = 5.0
_POLYGON_AREA_TOLERANCE = 0.5
_SMALL = 25
_FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


def check_instances(report: CheckReport, files: CocoFiles, *, path: Path, data: Mapping[str, Any]) -> ImageList:
    """Check an instance file entry by entry; returns its images.

    Args:
        report: receives the problems.
        files: the dataset it belongs to.
        path: the file.
        data: its contents.
    """
    where = path.name
    images = check_images(report, where, images=data["images"])
    categories = check_categories(report, where, categories=data["categories"])
    if files.table is not None:
        check_against_table(report, where, categories=categories, table=files.table, things_only=True)
    ids: set[Any] = set()
    twins: set[int] = set()
    for place, entry in enumerate(data["annotations"]):
        here = f"{where} annotation {entry.get('id', f'[{place}]')}"
        if "id" not in entry:
            report.error(here, "lacks an id")
        elif entry["id"] in ids:
            report.error(here, "duplicated annotation id")
        ids.add(entry.get("id"))
        if entry.get("category_id") not in categories:
            report.error(here, f"unknown category {entry.get('category_id')}")
        twin = hash(str([entry.get(key) for key in ("image_id", "category_id", "bbox", "segmentation", "phrase")]))
        if twin in twins:
            report.warn(here, "marks the same object with the same box and mask as another annotation")
        twins.add(twin)
        size = images.size(entry.get("image_id"))
        images.report_stranger(report, here, image_id=entry.get("image_id"))
        if size is not None:
            _check_instance(report, here, entry=entry, size=size)
    empty = len(set(images.known) - {entry.get("image_id") for entry in data["annotations"]})
    if empty:
        report.note(where, f"{empty} of {len(images.known)} images have no annotation")
    _check_federated(report, where, images=images, annotations=data["annotations"], categories=categories)
    return images


def _check_instance(report: CheckReport, here: str, *, entry: Mapping[str, Any], size: tuple[int, int]) -> None:
    report.counts["instances"] += 1
    if entry.get("iscrowd", 0) not in (0, 1):
        report.error(here, f"iscrowd must be 0 or 1, got {entry['iscrowd']!r}")
    report.counts["crowd instances"] += bool(entry.get("iscrowd", 0))
    box = entry.get("bbox")
    if not _is_box(box):
        report.error(here, f"bbox must be [x, y, width, height], four finite numbers, got {box}")
        return
    x, y, width, height = (float(value) for value in box)
    corners = (x, y, x + width, y + height)
    check_box(report, here, corners=corners, size=size)
    if not entry.get("segmentation"):
        report.counts["instances without mask"] += 1
        return
    try:
        mask = decode_mask(entry["segmentation"], size)
    except (ValueError, TypeError) as error:
        report.error(here, f"mask cannot be decoded: {error}")
        return
    tight = tight_box(mask)
    if tight is None:
        report.error(here, "empty mask")
        return
    _check_polygons(report, here, segmentation=entry["segmentation"], size=size)
    if max(abs(a - b) for a, b in zip(tight, corners, strict=True)) > _BOX_TOLERANCE:
        report.warn(here, f"box {corners} differs from that of its mask {tuple(tight.tolist())}")
    _check_area(report, here, entry=entry, pixels=int(mask.sum()))


def _is_box(box: Any) -> TypeGuard[Sequence[float]]:
    four = isinstance(box, (list, tuple)) and len(box) == 4
    return four and all(isinstance(value, (int, float)) and math.isfinite(value) for value in box)


def _check_polygons(report: CheckReport, here: str, *, segmentation: Any, size: tuple[int, int]) -> None:
    if isinstance(segmentation, Mapping):
        return
    height, width = size
    past = max(max(-min(p[0::2]), -min(p[1::2]), max(p[0::2]) - width, max(p[1::2]) - height) for p in segmentation)
    if past > _BORDER:
        report.warn(here, f"a polygon passes the border of {height} x {width} (H x W) by {past:.1f} pixels")


def _check_area(report: CheckReport, here: str, *, entry: Mapping[str, Any], pixels: int) -> None:
    area = float(entry.get("area", pixels))
    polygons = not isinstance(entry["segmentation"], Mapping)
    allowed = max(_POLYGON_AREA_TOLERANCE * max(area, pixels), _SMALL) if polygons else 0.5
    if not abs(area - pixels) <= allowed:
        kind = "crowd " if entry.get("iscrowd") else ""
        report.warn(here, f"{kind}area {area:g} differs from the {pixels} pixels of the mask")


def check_box(
    report: CheckReport, here: str, *, corners: tuple[float, float, float, float], size: tuple[int, int]
) -> None:
    """Report a box (x1, y1, x2, y2) in pixels without area, or outside an image of ``size`` (H, W)."""
    x1, y1, x2, y2 = corners
    height, width = size
    if x2 <= x1 or y2 <= y1:
        report.error(here, f"box {corners} has no area")
    past = max(-x1, -y1, x2 - width, y2 - height)
    if past > _BORDER:
        report.error(here, f"box {corners} lies outside the image of {height} x {width} (H x W)")
    elif past > 0.05:
        report.warn(here, f"box {corners} passes the border of {height} x {width} (H x W) by {past:.2f} pixels")


def _check_federated(
    report: CheckReport,
    where: str,
    *,
    images: ImageList,
    annotations: Sequence[Mapping[str, Any]],
    categories: Mapping[Any, Mapping[str, Any]],
) -> None:
    """Lists of absent and of incompletely marked categories, where images have them (LVIS)."""
    marked = {(entry.get("image_id"), entry.get("category_id")) for entry in annotations}
    for image_id, info in images.known.items():
        here = f"{where} image {image_id}"
        for key in _FEDERATED:
            for id_ in info.get(key, ()):
                if id_ not in categories:
                    report.error(here, f"{key} holds the unknown category {id_}")
        for id_ in info.get(_FEDERATED[0], ()):
            if (image_id, id_) in marked:
                report.error(here, f"category {id_} is said to be absent, but is annotated")
        for id_ in info.get(_FEDERATED[1], ()):
            if id_ in categories and (image_id, id_) not in marked:
                report.warn(here, f"category {id_} is said to be incompletely annotated, but is not annotated at all")
