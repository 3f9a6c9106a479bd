"""Checking the raw files of a COCO-format folder: instances, panoptic maps, captions and referring expressions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvplm.data.check_instances import check_box, check_instances
from mvplm.data.check_lists import Pictures, check_against_table, check_categories, check_images
from mvplm.data.check_panoptic import check_panoptic
from mvplm.data.datasets.coco_files import CocoFiles, read_json
from mvplm.data.datasets.coco_referring import referred_objects
from mvplm.data.problems import CheckReport

_SHOWN = 3


def check_coco(files: CocoFiles, *, decode: bool = True) -> CheckReport:
    """Check every part of a COCO-format folder that exists; returns all problems at once.

    Args:
        files: where the parts lie.
        decode: decode every picture; False only reads their headers.
    """
    report = CheckReport()
    pictures = Pictures(report, decode=decode)
    annotation_ids: set[Any] = set()
    for path in files.instances:
        data = _read(report, files, "images", "annotations", "categories", path=path)
        if data is not None:
            annotation_ids.update(entry.get("id") for entry in data["annotations"])
            images = check_instances(report, files, path=path, data=data)
            pictures.check_all(images, folder=files.images, where=path.name)
    if files.panoptic is not None:
        _check_panoptic_file(report, files, path=files.panoptic, pictures=pictures)
    if files.captions is not None:
        _check_captions(report, files, path=files.captions, pictures=pictures)
    if files.referring is not None:
        _check_referring(report, files, pictures=pictures, known=annotation_ids)
    return report


def _read(report: CheckReport, files: CocoFiles, *keys: str, path: Path) -> dict[str, Any] | None:
    try:
        data = files.read(path, *keys)
    except (ValueError, OSError) as error:
        report.error(path.name, str(error))
        return None
    for key in keys:
        if not data[key]:
            report.warn(path.name, f"its list of {key} is empty")
        elif key != "images" and not all(isinstance(entry, Mapping) for entry in data[key]):
            report.error(path.name, f"its list of {key} holds something that is no object")
            return None
    return data


def _check_panoptic_file(report: CheckReport, files: CocoFiles, *, path: Path, pictures: Pictures) -> None:
    data = _read(report, files, "images", "annotations", "categories", path=path)
    if data is None:
        return
    images = check_images(report, path.name, images=data["images"])
    pictures.check_all(images, folder=files.images, where=path.name)
    categories = check_categories(report, path.name, categories=data["categories"])
    unsaid = [str(category["name"]) for category in categories.values() if "isthing" not in category]
    if unsaid:
        shown = ", ".join(unsaid[:_SHOWN])
        report.warn(path.name, f"{len(unsaid)} categories lack isthing and count as things: {shown}")
    if files.table is not None:
        check_against_table(report, path.name, categories=categories, table=files.table, things_only=False)
    check_panoptic(report, files, data=data, images=images, categories=categories)


def _check_captions(report: CheckReport, files: CocoFiles, *, path: Path, pictures: Pictures) -> None:
    data = _read(report, files, "images", "annotations", path=path)
    if data is None:
        return
    images = check_images(report, path.name, images=data["images"])
    pictures.check_all(images, folder=files.images, where=path.name)
    ids: set[Any] = set()
    for place, entry in enumerate(data["annotations"]):
        here = f"{path.name} caption {entry.get('id', f'[{place}]')}"
        report.counts["captions"] += 1
        if entry.get("id") in ids:
            report.error(here, "duplicated caption id")
        ids.add(entry.get("id", place))
        images.report_stranger(report, here, image_id=entry.get("image_id"))
        if not str(entry.get("caption") or "").strip():
            report.error(here, "empty caption")


def _check_referring(report: CheckReport, files: CocoFiles, *, pictures: Pictures, known: set[Any]) -> None:
    path = files.need("referring")
    try:
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ValueError(f"{path} must hold a list of expressions")
    except (ValueError, OSError) as error:
        report.error(path.name, str(error))
        return
    for lookup in files.lookup:
        data = _read(report, files, "annotations", path=lookup)
        known = known | {entry.get("id") for entry in (data or {}).get("annotations", ())}
    ids: set[Any] = set()
    for place, entry in enumerate(entries):
        here = f"{path.name} expression {entry.get('ref_id', f'[{place}]')}"
        report.counts["expressions"] += 1
        missing = [key for key in ("image", "image_id", "height", "width", "expression") if key not in entry]
        if missing:
            report.error(here, f"lacks {', '.join(missing)}")
            continue
        if entry.get("ref_id") in ids:
            report.error(here, "duplicated ref_id")
        ids.add(entry.get("ref_id", place))
        size = (int(entry["height"]), int(entry["width"]))
        pictures.check(files.root / entry["image"], size, where=here)
        if not str(entry["expression"]).strip():
            report.error(here, "empty expression")
        _check_targets(report, here, entry=entry, known=known)


def _check_targets(report: CheckReport, here: str, *, entry: Mapping[str, Any], known: set[Any]) -> None:
    try:
        objects = referred_objects(entry)
    except (ValueError, TypeError) as error:
        report.error(here, str(error))
        return
    report.counts["expressions without target"] += not objects
    size = (int(entry["height"]), int(entry["width"]))
    for item in objects:
        if item.box is not None and len(item.box) != 4:
            report.error(here, f"a box needs 4 numbers, got {item.box}")
        elif item.box is not None:
            check_box(report, here, corners=item.box, size=size)
        if item.annotation_id is not None and item.annotation_id not in known:
            report.error(here, f"points at annotation {item.annotation_id}, which is in no instance file")
        if item.box is None and item.annotation_id is None:
            report.error(here, "has an object with neither box nor annotation id")
