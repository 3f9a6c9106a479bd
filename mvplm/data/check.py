"""Checking a dataset: every problem at once, instead of the first one in the middle of a training run."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mvplm.data.catalog import dataset_entry, datasets_root, get_dataset
from mvplm.data.check_coco import check_coco
from mvplm.data.check_semantic import check_semantic
from mvplm.data.datasets.semantic_maps import SemanticFiles
from mvplm.data.images import image_size, load_image
from mvplm.data.problems import CheckReport, Problem
from mvplm.structures import Annotation, Record
from mvplm.structures.masks import decode_mask, tight_box

__all__ = ["CheckReport", "Problem", "check_coco", "check_dataset", "check_records"]

_BOX_TOLERANCE = 1.5


def check_dataset(
    name: str, *, root: str | Path | None = None, decode: bool = True, limit: int = 0, **options: Any
) -> CheckReport:
    """Check a dataset of the catalog, or a COCO-format folder.

    Datasets that lie in COCO files or label maps are checked file by file; others record by record. What is missing
    altogether is a problem, too.

    Args:
        name: name in the catalog.
        root: as for ``get_dataset``.
        decode: decode every picture; False only reads their headers.
        limit: most records to look at where records are checked; 0 looks at all.
        **options: options of the dataset (for COCO files: their paths).

    Raises:
        ValueError: unknown name or option.
        FileNotFoundError: the folder of a dataset that can lie anywhere is not there.
    """
    entry, folder = dataset_entry(name), datasets_root(root)
    if entry.files is not None:
        _refuse_unknown(name, entry.files, options=options)
    missing = entry.missing(folder)
    if missing:
        report = CheckReport()
        for need in missing:
            report.error(name, f"missing in {folder}: {need}")
        return report
    if entry.files is not None:
        files = entry.files(folder, **options)
        return (check_semantic if isinstance(files, SemanticFiles) else check_coco)(files, decode=decode)
    return check_records(get_dataset(name, root=root, **options), decode=decode, limit=limit)


def _refuse_unknown(name: str, files: Callable[..., Any], *, options: dict[str, Any]) -> None:
    parameters = inspect.signature(files).parameters
    unknown = sorted(set(options) - set(parameters))
    if unknown and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        raise ValueError(f"checking {name} takes no option {', '.join(unknown)}: its files are checked as a whole")


def check_records(records: Sequence[Record], *, decode: bool = True, limit: int = 0) -> CheckReport:
    """Check records one by one: picture, boxes, masks, expressions, captions, unique ids."""
    report = CheckReport()
    seen: dict[int | str, set[int]] = {}
    for index in range(min(limit, len(records)) if limit else len(records)):
        where = f"record {index}"
        try:
            record = records[index]
        except (ValueError, OSError, KeyError) as error:
            report.error(where, f"cannot be read: {error}")
            continue
        where = f"{where} (image {record.image_id})"
        asked = {expression.id for expression in record.expressions if expression.id is not None}
        before = seen.get(record.image_id)
        if before is not None and not (asked and before and asked.isdisjoint(before)):  # else: other expressions
            report.error(where, "duplicated image id")
        seen[record.image_id] = asked | (before or set())
        report.counts["images"] += 1
        _check_picture(report, where, record=record, decode=decode)
        for place, annotation in enumerate(record.annotations):
            _check_annotation(report, f"{where}, annotation {place}", annotation=annotation, record=record)
        _check_texts(report, where, record=record)
    return report


def _check_picture(report: CheckReport, where: str, *, record: Record, decode: bool) -> None:
    try:
        if isinstance(record.image, (str, Path)) and not decode:
            size = image_size(record.image)
        else:
            height, width = load_image(record.image).shape[:2]
            size = (height, width)
    except (ValueError, OSError) as error:
        report.error(where, str(error))
        return
    if size != tuple(record.size):
        report.error(where, f"picture has size {size}, the record says {tuple(record.size)} (H, W)")


def _check_annotation(report: CheckReport, where: str, *, annotation: Annotation, record: Record) -> None:
    report.counts["annotations"] += 1
    report.counts["crowd regions"] += annotation.iscrowd
    x1, y1, x2, y2 = annotation.box
    height, width = record.size
    if x2 <= x1 or y2 <= y1:
        report.error(where, f"box {annotation.box} has no area")
    if x1 < -1 or y1 < -1 or x2 > width + 1 or y2 > height + 1:
        report.error(where, f"box {annotation.box} lies outside the image of {height} x {width}")
    if annotation.segmentation is None:
        report.counts["boxes without mask"] += 1
        return
    try:
        mask = decode_mask(annotation.segmentation, record.size)
    except (ValueError, TypeError) as error:
        report.error(where, f"mask cannot be decoded: {error}")
        return
    tight = tight_box(mask)
    if tight is None:
        report.error(where, "empty mask")
    elif max(abs(a - b) for a, b in zip(tight, annotation.box, strict=True)) > _BOX_TOLERANCE:
        report.warn(where, f"box {annotation.box} differs from that of its mask {tuple(tight.tolist())}")


def _check_texts(report: CheckReport, where: str, *, record: Record) -> None:
    report.counts["expressions"] += len(record.expressions)
    report.counts["captions"] += len(record.captions)
    for expression in record.expressions:
        report.counts["expressions without target"] += not expression.targets
        if not expression.text.strip():
            report.error(where, f"expression {expression.id} is empty")
    if any(not caption.strip() for caption in record.captions):
        report.error(where, "empty caption")
