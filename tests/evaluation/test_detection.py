"""Average precision: the numbers of pycocotools bit for bit, whoever saw which picture, in little memory."""

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
from oracles.coco_evaluation import NAMES, Picture, find, measured, random_set, whole_run

from mvplm.data.datasets.coco_mini import load_coco_mini
from mvplm.evaluation import DetectionAP, DetectionRules
from mvplm.evaluation.matching import TrueObject
from mvplm.evaluation.truth import true_objects
from mvplm.structures.masks import decode_mask, encode_mask

KINDS = {"box": "bbox", "mask": "segm"}


def assert_identical(pictures: list[Picture], num_classes: int) -> None:
    found = measured(pictures, num_classes).compute()
    expected = {}
    for name, kind in KINDS.items():
        run = whole_run(pictures, list(range(num_classes)), kind)
        expected |= {f"{name}_{key}": value for key, value in run.items() if value >= 0}
    assert found == expected


@pytest.mark.parametrize("seed", range(8))
def test_random_sets_give_the_numbers_of_pycocotools(seed: int):
    assert_identical(random_set(seed), 4)


def test_finds_beyond_the_limit_do_not_count():
    pictures = random_set(20, pictures=4, classes=1, most=280)
    assert max(len(picture.predictions) for picture in pictures) > 150
    assert_identical(pictures, 1)


def test_a_set_without_small_objects_has_no_numbers_of_small_objects():
    pictures = [replace(p, truth=[item for item in p.truth if item.area > 32**2]) for p in random_set(3)]
    assert_identical(pictures, 4)
    assert "box_APs" not in measured(pictures, 4).compute()


def perturbed(records, seed: int) -> list[Picture]:
    """Answers of a detector that shifts and scales, forgets, invents and erodes."""
    rng = np.random.default_rng(seed)
    pictures = []
    for record in records:
        truth, (height, width) = true_objects(record), record.size
        picture = Picture(record.image_id, truth=truth, size=record.size)
        for item in truth:
            for _ in range(rng.integers(0, 3)):
                box = np.array(item.box)
                sides = np.tile(box[2:] - box[:2], 2)
                box = np.clip(box + sides * rng.normal(0, 0.08, 4), 0, [width, height, width, height])
                box = np.concatenate([np.minimum(box[:2], box[2:]), np.maximum(box[:2], box[2:])])
                mask = decode_mask(item.segmentation, record.size)
                for _ in range(rng.integers(0, 4)):
                    mask = mask & np.roll(mask, 1, rng.integers(2)) & np.roll(mask, -1, rng.integers(2))
                score = float(np.float32(rng.beta(3, 2)).round(rng.integers(1, 7)))
                label = item.class_index if rng.random() < 0.9 else int(rng.integers(80))
                x1, y1, x2, y2 = box.tolist()
                entry = {"category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
                picture.predictions.append({**entry, "segmentation": encode_mask(mask)})
        for _ in range(rng.integers(0, 40)):
            box = (rng.random(4) * [width / 2, height / 2, width / 2, height / 2]).tolist()
            mask = np.zeros(record.size, bool)
            mask[int(box[1]) : int(box[1] + box[3]) + 1, int(box[0]) : int(box[0] + box[2]) + 1] = True
            entry = {"category_id": int(rng.integers(80)), "bbox": box, "score": float(rng.beta(1, 3))}
            picture.predictions.append({**entry, "segmentation": encode_mask(mask)})
        pictures.append(picture)
    return pictures


@pytest.mark.parametrize("seed", range(2))
def test_coco_mini_gives_the_numbers_of_pycocotools(shared_data, seed: int):
    records = load_coco_mini(shared_data, split="val", role="instance")
    assert_identical(perturbed(records, seed), len(records.vocabulary))


def test_sizes_are_those_of_the_file(shared_data):
    records = load_coco_mini(shared_data, split="val", role="detection")
    items = [item for record in records for item in true_objects(record)]
    whole_boxes = [(item.box[2] - item.box[0]) * (item.box[3] - item.box[1]) for item in items]
    assert all(item.area <= box + 1 for item, box in zip(items, whole_boxes, strict=True) if not item.iscrowd)
    assert sum(item.area for item in items) < 0.8 * sum(whole_boxes)  # of the masks, though only boxes were read


def test_shares_of_processes_give_the_same_numbers_in_any_order():
    pictures = random_set(5)
    whole = measured(pictures, 4).compute()
    for seed in range(3):
        mixed = random.Random(seed).sample(pictures, len(pictures))
        shares = [measured(mixed[first::3], 4) for first in range(3)]
        merged = pickle.loads(pickle.dumps(shares[0]))
        for share in shares[1:]:
            merged.merge(pickle.loads(pickle.dumps(share)))
        assert merged.compute() == whole


def test_an_image_that_was_added_twice_counts_once_and_reset_forgets():
    pictures = random_set(6)
    metric = measured([replace(pictures[0], predictions=[]), *pictures], 4)
    assert len(metric) == len(pictures) and metric.compute() == measured(pictures, 4).compute()
    metric.reset()
    assert set(metric.compute().values()) == {0.0}


def test_a_picture_leaves_little_behind():
    picture = Picture(1, [find([3, 3, 90, 90], place % 5, place / 100) for place in range(100)], random_set(1)[1].truth)
    metric = measured([picture], 5)
    assert len(pickle.dumps(metric._entries)) < 6000


def test_groups_of_classes_are_read_from_one_pass():
    pictures = random_set(7)
    groups = {"some": [0, 2], "rest": [1, 3]}
    found = measured(pictures, 4).compute_groups(groups)
    for group, classes in groups.items():
        assert found[group] == measured(pictures, 4, classes=classes).compute()


def test_per_class_and_per_size_are_the_parts_of_the_whole():
    pictures = random_set(8)
    metric = measured(pictures, 4)
    whole, classes, sizes = metric.compute(), metric.per_class(), metric.per_size()
    for label, numbers in classes.items():
        alone = measured(pictures, 4, classes=[label]).compute()
        assert {name: numbers[name] for name in ("box_AP", "box_AP50", "mask_AP")} == pytest.approx(
            {name: alone[name] for name in ("box_AP", "box_AP50", "mask_AP")}
        )
        assert numbers["objects"] == sum(
            item.class_index == label and not item.iscrowd for picture in pictures for item in picture.truth
        )
    assert sizes["all"]["box_AP"] == whole["box_AP"] and sizes["small"]["mask_AP"] == whole["mask_APs"]
    assert sizes["large"]["box_AR"] == whole["box_ARl"]
    assert sum(sizes[size]["objects"] for size in ("small", "medium", "large")) == sizes["all"]["objects"]


def square(x: float, label: int = 0) -> TrueObject:
    return TrueObject((x, 0, x + 10, 10), label)


def boxes(*rows: tuple[float, float], label: int = 0) -> list[dict]:
    return [{"category_id": label, "bbox": [x, 0, 10, 10], "score": score} for x, score in rows]


def test_curve_and_calibration_by_hand():
    metric = DetectionAP(2, masks=False)
    metric.update(boxes((0, 0.95), (50, 0.55), (20, 0.5), (80, 1.0)), [square(0), square(20)], size=(20, 100))
    curve = metric.curves(0)["box"]  # wrong, right, wrong, right: precision 1/2 up to half of the objects, then 2/4
    assert curve.precision[:51] == pytest.approx(0.5) and curve.precision[51:] == pytest.approx(0.5)
    assert curve.recall[[0, 100]].tolist() == [0, 1] and metric.curves(1) == {}
    bins = metric.calibration(bins=10)["box"]
    assert [b.count for b in bins] == [0, 0, 0, 0, 0, 2, 0, 0, 0, 2]
    assert (bins[5].score, bins[5].precision) == pytest.approx((0.525, 0.5)) and bins[0].precision is None
    with pytest.raises(ValueError, match=r"iou must be one of 0\.5"):
        metric.calibration(iou=0.52)
    with pytest.raises(ValueError, match="class 7 is not scored"):
        metric.curves(7)
    with pytest.raises(ValueError, match="bins must be at least 1"):
        metric.calibration(bins=0)


def test_calibration_counts_every_judged_find():
    pictures = random_set(9)
    found = measured(pictures, 4).calibration(bins=15, iou=0.5)["mask"]
    total = sum(len(picture.predictions) for picture in pictures)
    assert 0.5 * total < sum(b.count for b in found) <= total
    assert all(b.low <= b.score <= b.high for b in found if b.count)


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match=r"true object at .* has no mask; pass masks=False"):
        DetectionAP(1).update([], [square(0)], size=(20, 20))
    with pytest.raises(ValueError, match="per_class_limit must be at least 1, got 0"):
        DetectionRules(per_class_limit=0)


def test_names_of_numbers():
    found = measured(random_set(10), 4).compute()
    assert set(found) == {f"{kind}_{name}" for kind in KINDS for name in NAMES}
