"""LVIS' evaluation as plain loops over the contents of an annotation file (Gupta et al., "LVIS", 2019, and its rules).

Per picture 300 finds count, of all classes together. A class is judged in a picture where it has objects or is listed
as absent. Where it is not marked completely, a find that matches no object is neither right nor wrong.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

SIZES = {"": (0, 1e10), "s": (0, 1024), "m": (1024, 9216), "l": (9216, 1e10)}
LEVELS = np.linspace(0.5, 0.95, 10).tolist()
RECALLS = np.linspace(0, 1, 101).tolist()


def lvis_numbers(
    data: dict[str, Any], results: list[dict[str, Any]], overlap: Callable, area_of: Callable, *, per_class: int = 0
) -> dict[str, float]:
    """AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR300 in percent, of classes that have objects.

    Args:
        data: of the annotation file.
        results: finds with ``image_id`` and ``category_id`` of the file.
        overlap: IoU of a find and an object. area_of: pixels of a find.
        per_class: no limit per picture, but so many finds of each class ("fixed").
    """
    finds: list[dict[str, Any]] = []
    if per_class:
        for category in data["categories"]:
            of_class = [r for r in results if r["category_id"] == category["id"]]
            finds += sorted(of_class, key=lambda r: -r["score"])[:per_class]
    else:
        for image in data["images"]:
            of_image = [r for r in results if r["image_id"] == image["id"]]
            finds += sorted(of_image, key=lambda r: -r["score"])[:300]
    table: dict[tuple[int, int, str], list[float]] = {}
    reached: dict[tuple[int, int, str], float] = {}
    for category in data["categories"]:
        for size in SIZES:
            for level in range(10):
                curve = _class_curve(data, finds, category["id"], size, level, (overlap, area_of))
                if curve is not None:
                    table[category["id"], level, size], reached[category["id"], level, size] = curve

    def mean(values: list[float]) -> float:
        return 100 * sum(values) / len(values)

    ids = {letter: {c["id"] for c in data["categories"] if c["frequency"] == letter} for letter in "rcf"}
    whole = {key: values for key, values in table.items() if key[2] == ""}
    out = {"AP": mean([v for values in whole.values() for v in values])}
    for name, level in (("AP50", 0), ("AP75", 5)):
        out[name] = mean([v for key, values in whole.items() if key[1] == level for v in values])
    for size in ("s", "m", "l"):
        chosen = [v for key, values in table.items() if key[2] == size for v in values]
        if chosen:
            out[f"AP{size}"] = mean(chosen)
            out[f"AR{size}"] = mean([v for key, v in reached.items() if key[2] == size])
    for letter, members in ids.items():
        chosen = [v for key, values in whole.items() if key[0] in members for v in values]
        if chosen:
            out[f"AP{letter}"] = mean(chosen)
    out["AR300"] = mean([v for key, v in reached.items() if key[2] == ""])
    return out


def _class_curve(data, finds, label, size, level, measures):
    """Precision at 101 recalls and the recall reached; None for a class without objects of the size."""
    low, high = SIZES[size]
    overlap, area_of = measures
    rows, total = [], 0
    for image in data["images"]:
        objects = [a for a in data["annotations"] if a["image_id"] == image["id"] and a["category_id"] == label]
        if not objects and label not in image["neg_category_ids"]:
            continue
        inside = [low <= a["area"] <= high for a in objects]
        total += sum(inside)
        here = [f for f in finds if f["image_id"] == image["id"] and f["category_id"] == label]
        taken: set[int] = set()
        for find in sorted(here, key=lambda f: -f["score"]):
            best = None
            for wanted in (True, False):  # objects of the size come first, others only where none of those fits
                for place, item in enumerate(objects):
                    iou = overlap(find, item)
                    if inside[place] == wanted and place not in taken and iou >= LEVELS[level]:
                        best = (iou, place) if best is None or iou >= best[0] else best
                if best is not None:
                    break
            if best is not None:
                taken.add(best[1])
                if inside[best[1]]:
                    rows.append((find["score"], True))
            elif low <= area_of(find) <= high and label not in image["not_exhaustive_category_ids"]:
                rows.append((find["score"], False))
    if not total:
        return None
    rows.sort(key=lambda row: -row[0])
    points, right = [], 0
    for seen, (_, hit) in enumerate(rows, start=1):
        right += hit
        points.append((right / total, right / seen))
    for place in range(len(points) - 1, 0, -1):
        points[place - 1] = (points[place - 1][0], max(points[place - 1][1], points[place][1]))
    curve = [next((p for recall, p in points if recall >= at), 0.0) for at in RECALLS]
    return curve, right / total
