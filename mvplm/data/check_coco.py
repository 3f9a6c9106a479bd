"""Checking the raw files of a COCO-format folder: instances, captions and referring expressions.

Quirks that the official files have are warnings: crowd areas larger than their mask, boxes that pass the border by less
than a pixel, areas of polygons that differ from their pixels.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mvplm.data.boxes import tight_box
from mvplm.data.check_panoptic import check_panoptic
from mvplm.data.datasets.coco_files import CocoFiles, read_coco, read_json
from mvplm.data.datasets.coco_referring import referred_objects
from mvplm.data.images import image_size, load_image
from mvplm.data.problems import CheckReport
from mvplm.structures.masks import decode_mask

_BORDER = 1.0
_BOX_TOLERANCE = 5.0
_POLYGON_AREA_TOLERANCE = 0.5
_SMALL = 25

Images = dict[Any, Mapping[str, Any]]


def check_coco(files: CocoFiles, *, decode: bool = True) -> CheckReport:
    """Check every part of a COCO-format folder that exists; returns all problems at once.

    Args:
        files: where the parts lie.
        decode: decode every picture; False only reads their headers.
    """
    report = CheckReport()
    pictures = _Pictures(report, decode=decode)
    known: Images = {}
    for path in files.instances:
        known.update(_check_instances(report, path, folder=files.images, pictures=pictures))
    if files.panoptic is not None:
        data = _read(report, files.panoptic, "images", "annotations", "categories")
        if data is not None:
            images = check_images(report, files.panoptic.name, images=data["images"])
            _check_pictures(images, folder=files.images, pictures=pictures, where=files.panoptic.name)
            categories = check_categories(report, files.panoptic.name, categories=data["categories"])
            check_panoptic(report, files, data=data, images=images, categories=categories)
    if files.captions is not None:
        _check_captions(report, files.captions, folder=files.images, pictures=pictures)
    if files.referring is not None:
        _check_referring(report, files, pictures=pictures)
    return report


class _Pictures:
    """Looks at every picture once."""

    def __init__(self, report: CheckReport, *, decode: bool) -> None:
        self._report = report
        self._decode = decode
        self._sizes: dict[Path, tuple[int, int] | None] = {}

    def check(self, path: Path, size: tuple[int, int], *, where: str) -> None:
        """Report a picture that is missing, broken or of another size than (H, W) ``size``."""
        if path not in self._sizes:
            self._sizes[path] = self._size(path, where)
            self._report.counts["pictures"] += 1
            found = self._sizes[path]
            if found is not None and found != size:
                self._report.error(where, f"{path.name} has size {found}, the file says {size} (H, W)")

    def _size(self, path: Path, where: str) -> tuple[int, int] | None:
        try:
            if self._decode:
                height, width = load_image(path).shape[:2]
                return int(height), int(width)
            return image_size(path)
        except (ValueError, OSError) as error:
            self._report.error(where, str(error))
            return None


def check_images(report: CheckReport, where: str, *, images: Iterable[Mapping[str, Any]]) -> Images:
    """Well-formed entries by id; reports missing fields, duplicated ids and duplicated file names."""
    known: Images = {}
    names: Counter[str] = Counter()
    for place, info in enumerate(images):
        missing = [key for key in ("id", "file_name", "height", "width") if key not in info]
        if missing:
            report.error(f"{where} images[{place}]", f"lacks {', '.join(missing)}")
        elif info["id"] in known:
            report.error(f"{where} images[{place}]", f"duplicated image id {info['id']}")
        else:
            known[info["id"]] = info
            names[info["file_name"]] += 1
    for name, times in names.items():
        if times > 1:
            report.warn(where, f"file name {name} stands for {times} image ids")
    return known


def check_categories(
    report: CheckReport, where: str, *, categories: Iterable[Mapping[str, Any]]
) -> dict[Any, Mapping[str, Any]]:
    """Well-formed categories by id; reports missing fields, duplicated ids and names."""
    known: dict[Any, Mapping[str, Any]] = {}
    for place, category in enumerate(categories):
        here = f"{where} categories[{place}]"
        if "id" not in category or not str(category.get("name", "")).strip():
            report.error(here, "needs an id and a name")
        elif category["id"] in known:
            report.error(here, f"duplicated category id {category['id']}")
        else:
            if any(category["name"] == other["name"] for other in known.values()):
                report.error(here, f"duplicated category name {category['name']!r}")
            known[category["id"]] = category
    return known


def _read(report: CheckReport, path: Path, *keys: str) -> dict[str, Any] | None:
    try:
        return read_coco(path, *keys)
    except (ValueError, OSError) as error:
        report.error(path.name, str(error))
        return None


def _check_pictures(images: Images, *, folder: Path, pictures: _Pictures, where: str) -> None:
    for image_id, info in images.items():
        size = (int(info["height"]), int(info["width"]))
        pictures.check(folder / info["file_name"], size, where=f"{where} image {image_id}")


def _check_instances(report: CheckReport, path: Path, *, folder: Path, pictures: _Pictures) -> Images:
    data = _read(report, path, "images", "annotations", "categories")
    if data is None:
        return {}
    where = path.name
    images = check_images(report, where, images=data["images"])
    categories = check_categories(report, where, categories=data["categories"])
    _check_pictures(images, folder=folder, pictures=pictures, where=where)
    ids: set[Any] = set()
    for place, entry in enumerate(data["annotations"]):
        here = f"{where} annotation {entry.get('id', f'[{place}]')}"
        if "id" not in entry:
            report.error(here, "lacks an id")
        elif entry["id"] in ids:
            report.error(here, "duplicated annotation id")
        ids.add(entry.get("id"))
        if entry.get("category_id") not in categories:
            report.error(here, f"unknown category {entry.get('category_id')}")
        info = images.get(entry.get("image_id"))
        if info is None:
            report.error(here, f"points at image {entry.get('image_id')}, which is not listed")
        else:
            _check_instance(report, here, entry=entry, size=(int(info["height"]), int(info["width"])))
    empty = len(set(images) - {entry.get("image_id") for entry in data["annotations"]})
    if empty:
        report.note(where, f"{empty} of {len(images)} images have no annotation")
    return images


def _check_instance(report: CheckReport, here: str, *, entry: Mapping[str, Any], size: tuple[int, int]) -> None:
    report.counts["instances"] += 1
    crowd = bool(entry.get("iscrowd", 0))
    report.counts["crowd instances"] += crowd
    box = entry.get("bbox")
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        report.error(here, f"bbox must be [x, y, width, height], got {box}")
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
    if max(abs(a - b) for a, b in zip(tight, corners, strict=True)) > _BOX_TOLERANCE:
        report.warn(here, f"box {corners} differs from that of its mask {tuple(tight.tolist())}")
    _check_area(report, here, entry=entry, pixels=int(mask.sum()))


def _check_area(report: CheckReport, here: str, *, entry: Mapping[str, Any], pixels: int) -> None:
    area = float(entry.get("area", pixels))
    polygons = not isinstance(entry["segmentation"], Mapping)
    allowed = max(_POLYGON_AREA_TOLERANCE * max(area, pixels), _SMALL) if polygons else 0.5
    if abs(area - pixels) > allowed:
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


def _check_captions(report: CheckReport, path: Path, *, folder: Path, pictures: _Pictures) -> None:
    data = _read(report, path, "images", "annotations")
    if data is None:
        return
    images = check_images(report, path.name, images=data["images"])
    _check_pictures(images, folder=folder, pictures=pictures, where=path.name)
    ids: set[Any] = set()
    for place, entry in enumerate(data["annotations"]):
        here = f"{path.name} caption {entry.get('id', f'[{place}]')}"
        report.counts["captions"] += 1
        if entry.get("id") in ids:
            report.error(here, "duplicated caption id")
        ids.add(entry.get("id", place))
        if entry.get("image_id") not in images:
            report.error(here, f"points at image {entry.get('image_id')}, which is not listed")
        if not str(entry.get("caption") or "").strip():
            report.error(here, "empty caption")


def _check_referring(report: CheckReport, files: CocoFiles, *, pictures: _Pictures) -> None:
    path = files.need("referring")
    try:
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ValueError(f"{path} must hold a list of expressions")
    except (ValueError, OSError) as error:
        report.error(path.name, str(error))
        return
    known = set()
    for instances in (*files.instances, *files.lookup):
        data = _read(report, instances, "annotations")
        known |= {entry.get("id") for entry in (data or {}).get("annotations", ())}
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
