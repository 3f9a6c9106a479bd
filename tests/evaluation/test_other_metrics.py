"""Semantic, detection, referring and box metrics against naive oracles and numbers of the literature."""

import numpy as np
import pytest

from mvplm.evaluation import BoxAccuracy, DetectionAP, ReferringIoU, SemanticIoU, make_evaluator, write_metrics
from mvplm.evaluation.detection import TrueObject
from mvplm.structures.masks import encode_mask


def test_semantic_iou_equals_naive_sets():
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(-1, 4, (9, 7)), rng.integers(-1, 4, (9, 7))) for _ in range(3)]
    metric = SemanticIoU(4)
    for predicted, true in pairs:
        metric.update(predicted, true)
    ious = []
    for k in range(4):
        known = [(p[t >= 0], t[t >= 0]) for p, t in pairs]
        overlap = sum(int(((p == k) & (t == k)).sum()) for p, t in known)
        union = sum(int(((p == k) | (t == k)).sum()) for p, t in known)
        ious.append(overlap / union)
    assert metric.compute()["mIoU"] == pytest.approx(100 * np.mean(ious))


def area(count, offset=0):
    mask = np.zeros(400, bool)
    mask[offset : offset + count] = True
    return mask.reshape(20, 20)


# Golden G43.
def test_referring_golden_numbers():
    metric = ReferringIoU()
    metric.update(area(80, 40), area(100), key=0)  # 60 shared
    metric.update(None, None, key=1)
    metric.update(area(50), None, key=2)
    metric.update(None, area(40), key=3)
    result = metric.compute()
    assert result["cIoU"] == pytest.approx(100 * 60 / 210)
    assert result["gIoU"] == pytest.approx(100 * (60 / 120 + 1) / 4)
    assert result["N-acc"] == 50.0 and result["T-acc"] == 50.0


def test_box_accuracy_counts_threshold_inclusive():
    metric = BoxAccuracy(0.5)
    metric.update([0, 0, 10, 10], [0, 0, 10, 20])  # exactly one half
    metric.update([0, 0, 10, 10], [5, 5, 15, 15])
    metric.update(None, [0, 0, 1, 1])
    assert metric.compute()["Acc@0.5"] == pytest.approx(100 / 3)


def entry(box, class_index, score):
    x1, y1, x2, y2 = box
    mask = np.zeros((40, 40), bool)
    mask[y1:y2, x1:x2] = True
    return {
        "category_id": class_index,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": score,
        "segmentation": encode_mask(mask),
    }


def test_detection_ap_perfect_missing_and_grouped():
    boxes = [(2, 2, 20, 20), (22, 22, 38, 38)]
    truth = [TrueObject(box, i, entry(box, i, 1.0)["segmentation"]) for i, box in enumerate(boxes)]
    full, half, group = DetectionAP(2), DetectionAP(2), DetectionAP(2, [0])
    full.update([entry(b, i, 0.9) for i, b in enumerate(boxes)], truth, size=(40, 40))
    half.update([entry(boxes[0], 0, 0.9)], truth, size=(40, 40))
    group.update([entry(boxes[0], 0, 0.9)], truth, size=(40, 40))
    assert full.compute()["box_AP"] == pytest.approx(100) and full.compute()["mask_AP50"] == pytest.approx(100)
    assert half.compute()["box_AP50"] == pytest.approx(50)
    assert group.compute()["mask_AP"] == pytest.approx(100)


def test_detection_without_predictions_is_zero_and_missing_masks_are_named():
    metric = DetectionAP(1)
    metric.update([], [TrueObject((0, 0, 4, 4), 0, entry((0, 0, 4, 4), 0, 1)["segmentation"])], size=(40, 40))
    assert metric.compute()["box_AP"] == 0.0
    with pytest.raises(ValueError, match="masks=False"):
        metric.update([{"category_id": 0, "bbox": [0, 0, 1, 1], "score": 1.0}], [], size=(40, 40))


def test_unknown_task_lists_choices():
    with pytest.raises(ValueError, match="did you mean 'panoptic'"):
        make_evaluator("panoptik")


def test_metrics_file_holds_all_parts(tmp_path):
    import json

    path = write_metrics(tmp_path / "deep" / "metrics.json", {"a/b": 1.23456}, protocol={"seed": 0}, data={"hash": "x"})
    content = json.loads(path.read_text())
    assert content["metrics"] == {"a/b": 1.2346} and content["protocol"] == {"seed": 0}
    assert content["data"]["hash"] == "x" and "torch" in content["versions"]
