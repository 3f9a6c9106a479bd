"""Average precision on federated data against plain loops over the rules of LVIS."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracles.naive_lvis import lvis_numbers

from mvplm.data.datasets.coco_files import CocoFiles
from mvplm.data.datasets.lvis import LvisInstances
from mvplm.evaluation import DetectionAP, make_evaluator
from mvplm.evaluation.truth import incomplete_classes, scored_classes, true_objects
from mvplm.structures.masks import decode_mask, encode_mask

HEIGHT, WIDTH, IDS = 110, 140, (3, 4, 9, 12, 20, 21)


def filled(box: tuple[int, ...]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[max(box[1], 0) : box[1] + box[3], max(box[0], 0) : box[0] + box[2]] = True
    return mask


def random_box(rng: np.random.Generator) -> tuple[int, ...]:
    width, height = rng.integers(5, 125), rng.integers(5, 100)
    return (int(rng.integers(WIDTH - width)), int(rng.integers(HEIGHT - height)), int(width), int(height))


def federated(seed: int, *, most: int = 40, images: int = 8) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An annotation file, and finds: near objects, anywhere, over the border, of classes nobody looked for."""
    rng = np.random.default_rng(seed)
    categories = [{"id": id_, "name": f"name_{id_}", "frequency": "rrccff"[k]} for k, id_ in enumerate(IDS)]
    data: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    results = []
    for image_id in range(1, images + 1):
        marked = rng.choice(IDS, rng.integers(0, 4), replace=False).tolist()
        rest = [id_ for id_ in IDS if id_ not in marked]
        data["images"].append(
            {
                "id": image_id,
                "height": HEIGHT,
                "width": WIDTH,
                "coco_url": f"http://x/val2017/{image_id:012d}.jpg",
                "neg_category_ids": rest[: rng.integers(0, 3)],
                "not_exhaustive_category_ids": [id_ for id_ in marked if rng.random() < 0.4],
            }
        )
        objects = []
        for id_ in marked:
            for _ in range(rng.integers(1, 4)):
                box = random_box(rng)
                area = float(box[2] * box[3] * rng.uniform(0.6, 1.0))
                objects.append({"image_id": image_id, "category_id": id_, "bbox": list(box), "area": area})
                objects[-1] |= {
                    "id": 10 * len(data["annotations"]) + len(objects),
                    "segmentation": encode_mask(filled(box)),
                }
        data["annotations"] += objects
        for _ in range(rng.integers(0, most)):
            near = objects[rng.integers(len(objects))] if objects and rng.random() < 0.6 else None
            box = random_box(rng)
            if near is not None:
                box = tuple(int(v) for v in np.array(near["bbox"]) + rng.integers(-5, 6, 4))
                box = (*box[:2], max(box[2], 2), max(box[3], 2))
            id_ = near["category_id"] if near is not None and rng.random() < 0.8 else int(rng.choice(IDS))
            find = {"image_id": image_id, "category_id": id_, "bbox": list(box), "score": float(rng.random())}
            results.append({**find, "segmentation": encode_mask(filled(box))})
    return data, results


def opened(data: dict[str, Any], folder: Path, **options: Any) -> LvisInstances:
    path = folder / "lvis.json"
    contents = {**data, "images": [{**info, "file_name": f"{info['id']}.jpg"} for info in data["images"]]}
    path.write_text(json.dumps(contents), encoding="utf-8")
    return LvisInstances(CocoFiles(root=folder, images=folder, instances=(path,)), source="lvis", **options)


def measured(records: LvisInstances, results: list[dict[str, Any]], *, masks: bool = False) -> DetectionAP:
    metric = DetectionAP(len(IDS), masks=masks, rules=records.detection_rules)
    for record in records:
        metric.update(
            [
                {**entry, "category_id": IDS.index(entry["category_id"])}
                for entry in results
                if entry["image_id"] == record.image_id
            ],
            true_objects(record),
            size=record.size,
            key=record.image_id,
            scored=scored_classes(record),
            incomplete=incomplete_classes(record),
        )
    return metric


def box_overlap(find: dict[str, Any], item: dict[str, Any]) -> float:
    (x, y, w, h), (a, b, c, d) = find["bbox"], item["bbox"]
    shared = max(min(x + w, a + c) - max(x, a), 0) * max(min(y + h, b + d) - max(y, b), 0)
    return shared / (w * h + c * d - shared)


def mask_overlap(find: dict[str, Any], item: dict[str, Any]) -> float:
    first, second = decode_mask(find["segmentation"]), decode_mask(item["segmentation"])
    either = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / either if either else 0.0


def remembered(measure: Callable) -> Callable:
    """The same, computed once for each entry or pair."""
    known: dict[tuple[int, ...], float] = {}

    def look_up(*entries: dict[str, Any]) -> float:
        key = tuple(id(entry) for entry in entries)
        if key not in known:
            known[key] = measure(*entries)
        return known[key]

    return look_up


MEASURES = {
    "box": (box_overlap, lambda find: find["bbox"][2] * find["bbox"][3]),
    "mask": (mask_overlap, lambda find: np.count_nonzero(decode_mask(find["segmentation"]))),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", MEASURES)
def test_random_federated_sets_give_the_numbers_of_plain_loops(tmp_path: Path, seed: int, kind: str):
    data, results = federated(seed)
    found = measured(opened(data, tmp_path), results, masks=True).compute()
    expected = lvis_numbers(data, results, *map(remembered, MEASURES[kind]))
    assert {name: found[f"{kind}_{name}"] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert sum(name.startswith(kind) for name in found) == len(expected)


def test_300_finds_of_all_classes_together_count(tmp_path: Path):
    """Also those of classes that nobody looked for use up the limit."""
    data, results = federated(11, most=700, images=4)
    assert max(sum(r["image_id"] == info["id"] for r in results) for info in data["images"]) > 400
    found = measured(opened(data, tmp_path), results).compute()
    expected = lvis_numbers(data, results, *MEASURES["box"])
    assert {name: found[f"box_{name}"] for name in expected} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("limit", [20, 10_000])
def test_fixed_average_precision_limits_finds_of_a_class_over_the_set(tmp_path: Path, limit: int):
    data, results = federated(11, most=700, images=4)
    found = measured(opened(data, tmp_path, per_class_limit=limit), results).compute()
    expected = lvis_numbers(data, results, *map(remembered, MEASURES["box"]), per_class=limit)
    for name in expected.keys() & {"AP", "APr", "APc", "APf"}:
        assert found[f"box_{name}_fixed"] == pytest.approx(expected[name], abs=1e-9)
    assert found["box_AP"] == measured(opened(data, tmp_path), results).compute()["box_AP"] != found["box_AP_fixed"]


def test_a_find_over_the_border_of_a_class_that_is_not_complete_is_not_wrong(tmp_path: Path):
    data, _ = federated(0)
    info = next(info for info in data["images"] if info["not_exhaustive_category_ids"])
    (id_, *_) = info["not_exhaustive_category_ids"]
    far = {"image_id": info["id"], "category_id": id_, "bbox": [-200, -200, 210, 210], "score": 0.9}
    far["segmentation"] = encode_mask(filled((0, 0, 1, 1)))
    right = [{**entry, "score": 0.5} for entry in data["annotations"] if entry["image_id"] == info["id"]]
    records = opened(data, tmp_path)
    assert measured(records, [far, *right]).compute()["box_AP"] == measured(records, right).compute()["box_AP"] > 0


def test_evaluators_know_the_rules_of_the_set(tmp_path: Path):
    data, _ = federated(0)
    records = opened(data, tmp_path, per_class_limit=10_000)
    evaluator = make_evaluator("instance", records.vocabulary, rules=records.detection_rules)
    for name in ("box_APr", "mask_APf", "box_AP_fixed", "mask_APc_fixed", "box_AR300"):
        evaluator.ap.update([], [t for r in records for t in true_objects(r) if not t.iscrowd], size=(HEIGHT, WIDTH))
        assert f"detection/{name}" in evaluator.compute()
