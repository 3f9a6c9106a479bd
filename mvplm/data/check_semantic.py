"""Checking pictures with label maps: pairs, sizes, values, and which classes occur."""

from collections import Counter
from pathlib import Path

import numpy as np

from mvplm.data.datasets.semantic_maps import LabelledPicture, SemanticFiles, unknown_values
from mvplm.data.images import image_size, load_image
from mvplm.data.label_maps import read_labels
from mvplm.data.problems import CheckReport

_SHOWN = 5


def check_semantic(files: SemanticFiles, *, decode: bool = True) -> CheckReport:
    """Check every picture and its map; returns all problems at once.

    Args:
        files: pictures, maps, names.
        decode: decode every picture; False only reads their headers. Maps are always decoded.
    """
    report = CheckReport()
    pixels: Counter[int] = Counter()
    for key, times in Counter(picture.key for picture in files.pictures).items():
        if times > 1:
            report.error(f"image {key}", f"is listed {times} times")
    _check_names(report, files)
    for picture in files.pictures:
        report.counts["pictures"] += 1
        size = _picture_size(report, picture, decode=decode)
        labels = _labels(report, picture)
        if labels is not None:
            pixels.update(dict(zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True)))
            _check_labels(report, files, picture=picture, labels=labels, size=size)
    _check_strays(report, files)
    _sum_up(report, files, pixels=pixels)
    return report


def _check_names(report: CheckReport, files: SemanticFiles) -> None:
    for name, times in Counter(files.vocabulary.names).items():
        if times > 1:
            report.error("classes", f"duplicated class name {name!r}")


def _picture_size(report: CheckReport, picture: LabelledPicture, *, decode: bool) -> tuple[int, int] | None:
    try:
        if not decode:
            return image_size(picture.image)
        height, width = load_image(picture.image).shape[:2]
        return int(height), int(width)
    except (ValueError, OSError) as error:
        report.error(f"image {picture.key}", str(error))
        return None


def _labels(report: CheckReport, picture: LabelledPicture) -> np.ndarray | None:
    try:
        report.counts["label maps"] += 1
        return read_labels(picture.labels)
    except (ValueError, OSError) as error:
        report.error(f"image {picture.key}", str(error))
        return None


def _check_labels(
    report: CheckReport,
    files: SemanticFiles,
    *,
    picture: LabelledPicture,
    labels: np.ndarray,
    size: tuple[int, int] | None,
) -> None:
    here = f"map {picture.labels.name}"
    if size is not None and labels.shape != size:
        report.error(here, f"has size {labels.shape}, its picture {size} (H, W)")
    unknown = unknown_values(labels, files)
    if unknown:
        report.error(here, f"holds {unknown[:_SHOWN]}, which are neither classes nor void")
    elif not np.isin(labels, files.vocabulary.dataset_ids).any():
        report.warn(here, "is void everywhere")


def _check_strays(report: CheckReport, files: SemanticFiles) -> None:
    """Maps in the folder that belong to no picture."""
    if files.labels is None or not files.pictures:
        return
    known = {picture.labels for picture in files.pictures}
    ending = _ending(files.pictures[0])
    strays = sorted(path.name for path in files.labels.rglob(f"*{ending}") if path not in known)
    if strays:
        report.warn(files.labels.name, f"{len(strays)} maps have no picture: {', '.join(strays[:_SHOWN])}")


def _ending(picture: LabelledPicture) -> str:
    name = picture.labels.name
    return name.removeprefix(picture.key) if name.startswith(picture.key) else Path(name).suffix


def _sum_up(report: CheckReport, files: SemanticFiles, *, pixels: Counter[int]) -> None:
    total, void = sum(pixels.values()), sum(pixels[value] for value in files.void)
    if void:
        report.note("maps", f"{100 * void / total:.1f} % of their pixels are void (ignored in evaluation)")
    ids = files.vocabulary.dataset_ids
    absent = [name for name, value in zip(files.vocabulary.names, ids, strict=True) if not pixels[value]]
    if absent:
        shown = ", ".join(absent[:_SHOWN])
        report.note("maps", f"{len(absent)} of {len(ids)} classes have no pixel: {shown}")
