"""Checking panoptic maps against their list of segments."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mvplm.data.check_lists import ImageList
from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.panoptic_png import read_panoptic
from mvplm.data.problems import CheckReport


def check_panoptic(
    report: CheckReport,
    files: CocoFiles,
    *,
    data: Mapping[str, Any],
    images: ImageList,
    categories: Mapping[Any, Mapping[str, Any]],
) -> None:
    """Check every map: file, size, ids listed and unlisted, areas, categories; counts void pixels.

    Args:
        report: receives the problems.
        files: where the parts lie.
        data: contents of the panoptic JSON.
        images: its images.
        categories: its well-formed categories by id.
    """
    name = files.need("panoptic").name
    if files.panoptic_masks is None:
        report.error(name, "the folder with the panoptic maps is missing")
        return
    seen: set[Any] = set()
    void = total = 0
    for place, entry in enumerate(data["annotations"]):
        here = f"{name} map {entry.get('file_name', f'[{place}]')}"
        image_id = entry.get("image_id")
        size = images.size(image_id)
        report.counts["panoptic maps"] += 1
        if image_id in seen:
            report.error(here, f"duplicated map of image {image_id}")
        seen.add(image_id)
        missing = [key for key in ("file_name", "segments_info") if key not in entry]
        if missing:
            report.error(here, f"lacks {', '.join(missing)}")
            continue
        images.report_stranger(report, here, image_id=image_id)
        if size is None:
            continue
        ids = _read_map(report, here, path=files.panoptic_masks / entry["file_name"], size=size)
        _check_segments(report, here, entry=entry, ids=ids, categories=categories)
        if ids is not None:
            void += int((ids == 0).sum())
            total += ids.size
    if void:
        report.note(name, f"{100 * void / total:.1f} % of the pixels of the maps are void (ignored in evaluation)")
    without = len(set(images.known) - seen)
    if without:
        report.note(name, f"{without} of {len(images.known)} images have no map")


def _read_map(report: CheckReport, here: str, *, path: Path, size: tuple[int, int]) -> np.ndarray | None:
    try:
        return read_panoptic(path, size)
    except (ValueError, OSError) as error:
        report.error(here, str(error))
        return None


def _check_segments(
    report: CheckReport,
    here: str,
    *,
    entry: Mapping[str, Any],
    ids: np.ndarray | None,
    categories: Mapping[Any, Mapping[str, Any]],
) -> None:
    areas = {} if ids is None else dict(zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True))
    listed: set[int] = set()
    for segment in entry["segments_info"]:
        segment_id = segment.get("id")
        at = f"{here}, segment {segment_id}"
        report.counts["segments"] += 1
        report.counts["crowd segments"] += bool(segment.get("iscrowd", 0))
        if segment.get("iscrowd", 0) not in (0, 1):
            report.error(at, f"iscrowd must be 0 or 1, got {segment['iscrowd']!r}")
        if segment_id == 0:
            report.error(at, "id 0 is kept for void")
        if segment_id in listed:
            report.error(at, "duplicated segment id")
        listed.add(segment_id)
        if segment.get("category_id") not in categories:
            report.error(at, f"unknown category {segment.get('category_id')}")
        if ids is not None:
            stuff = not categories.get(segment.get("category_id"), {}).get("isthing", 1)
            _check_pixels(report, at, segment=segment, pixels=areas.get(segment_id, 0), stuff=stuff)
    for segment_id in sorted(set(areas) - listed - {0}):
        report.error(f"{here}, segment {segment_id}", f"{areas[segment_id]} pixels carry an id that is not listed")


def _check_pixels(report: CheckReport, at: str, *, segment: Mapping[str, Any], pixels: int, stuff: bool) -> None:
    """Number of pixels of a segment. Some preparations list stuff as it was before things were painted over it."""
    if not pixels:
        message = "empty mask: listed, but no pixel of the map has its id"
        (report.warn if stuff else report.error)(at, message)
    elif "area" in segment and segment["area"] != pixels:
        message = f"area {segment['area']} differs from the {pixels} pixels of the map"
        painted_over = stuff and segment["area"] > pixels
        (report.warn if segment.get("iscrowd") or painted_over else report.error)(at, message)
