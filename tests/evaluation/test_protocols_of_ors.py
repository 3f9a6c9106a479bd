"""The three ways of counting ORS-Bench, worked out by hand on masks of one row."""

import numpy as np
import pytest
from oracles.drawn_masks import drawn, expected, measured

from mvplm.evaluation import ReferringIoU, bootstrap, protocols
from mvplm.evaluation.expressions import ExpressionAnswer, ExpressionMetrics
from mvplm.structures import Annotation, Expression, Record
from mvplm.structures.masks import encode_mask

PRESETS = ("qwen_ors_matched", "qwen_ors", "qwen_ors_union")
THRESHOLDS = (0.5, 0.7, 0.9)
ALL, NONE = (1, 1, 1), (0, 0, 0)
FOUR, REST = "####......", "......####"
GOLDEN = (
    ["####................", ".....###............", "............####...."],
    ["#####...............", ".....#####.........."],
)
CASES = {
    "right": [(FOUR, FOUR)],
    "two right, in another order": [([REST, FOUR], [FOUR, REST])],
    "an IoU of one half is not above it": [("##........", FOUR)],
    "an IoU of 0.7 is not above it": [("#######...", "##########")],
    "golden: IoU 0.8 and 0.6 and one too many": [GOLDEN],
    "one is missing": [("###.......", ["###.......", REST])],
    "one too many": [([FOUR, "......##.."], FOUR)],
    "no mask for a target": [(None, FOUR)],
    "'no target' said about a target": [(FOUR, FOUR, "no_target")],
    "unreadable with two targets": [(FOUR, ["###.......", REST], "unparsed")],
    "nothing, and nothing is there": [(None, None)],
    "something, and nothing is there": [("###.......", None)],
    "unreadable, and nothing is there": [(None, None, "unparsed")],
    "one mask over two targets": [("###...####", ["###.......", REST])],
    "the assignment is the best one, not the first": [(["..####....", FOUR], [FOUR, "....####.."])],
    "every sample counts once": [(FOUR, FOUR), ("##........", ["##........", "...##.....", "......##.."])],
    "a mask without pixels is one too many": [([FOUR, ".........."], FOUR)],
}
# Case -> (cIoU, gIoU, Pr at the thresholds, N-acc, T-acc) of matched, default and union; one entry where all agree.
EXPECTED = {
    "right": [(1, 1, ALL, None, 1)],
    "two right, in another order": [(1, 1, ALL, None, 1)],
    "an IoU of one half is not above it": [(1 / 2, 1 / 2, NONE, None, 1)],
    "an IoU of 0.7 is not above it": [(0.7, 0.7, (1, 0, 0), None, 1)],
    "golden: IoU 0.8 and 0.6 and one too many": [
        (7 / 10, 0.7, (1, 1 / 2, 0), None, 1),
        (7 / 14, 1.4 / 3, (2 / 3, 1 / 3, 0), None, 1),
        (7 / 14, 7 / 14, NONE, None, 1),
    ],
    "one is missing": [
        (1, 1, ALL, None, 1),
        (3 / 7, 1 / 2, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (3 / 7, 3 / 7, NONE, None, 1),
    ],
    "one too many": [
        (1, 1, ALL, None, 1),
        (4 / 6, 1 / 2, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (4 / 6, 4 / 6, (1, 0, 0), None, 1),
    ],
    "no mask for a target": [(0, 0, NONE, None, 0)],
    "'no target' said about a target": [(0, 0, NONE, None, 0)],
    "unreadable with two targets": [(0, 0, NONE, None, 0)],
    "nothing, and nothing is there": [(0, 1, ALL, 1, None)],
    "something, and nothing is there": [(0, 0, NONE, 0, None)],
    "unreadable, and nothing is there": [(0, 0, NONE, 0, None)],
    "one mask over two targets": [
        (4 / 7, 4 / 7, (1, 0, 0), None, 1),
        (4 / 10, 2 / 7, (1 / 2, 0, 0), None, 1),
        (1, 1, ALL, None, 1),
    ],
    "the assignment is the best one, not the first": [
        (6 / 10, 2 / 3, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (6 / 10, 2 / 3, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (6 / 8, 6 / 8, (1, 1, 0), None, 1),
    ],
    "every sample counts once": [
        (1, 1, ALL, None, 1),
        (6 / 10, 2 / 3, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (6 / 10, 2 / 3, (1 / 2, 1 / 2, 1 / 2), None, 1),
    ],
    "a mask without pixels is one too many": [
        (1, 1, ALL, None, 1),
        (1, 1 / 2, (1 / 2, 1 / 2, 1 / 2), None, 1),
        (1, 1, ALL, None, 1),
    ],
}


@pytest.mark.parametrize("preset", range(3), ids=PRESETS)
@pytest.mark.parametrize("case", CASES)
def test_hand_cases(case: str, preset: int):
    c, g, pr, n, t = (EXPECTED[case] * 3)[preset] if len(EXPECTED[case]) == 1 else EXPECTED[case][preset]
    found = measured(PRESETS[preset], *CASES[case])
    assert found == expected(THRESHOLDS, c=c, g=g, pr=pr, n=n, t=t)


def test_the_golden_numbers():
    assert measured("qwen_ors_matched", GOLDEN)["gIoU"] == pytest.approx(70)
    assert measured("qwen_ors", GOLDEN)["gIoU"] == pytest.approx(46.6667, abs=1e-4)


def test_what_cannot_be_read_brings_its_truth_into_the_union():
    for preset in PRESETS:
        metric = ReferringIoU(preset)
        metric.update(drawn(FOUR), drawn([FOUR, REST]), status="unparsed")
        assert metric.image_sums().sums["cIoU"].tolist() == [[0, 8]], preset


def test_intervals_draw_images_ten_thousand_times_and_are_the_same_for_one_seed():
    rng = np.random.default_rng(3)
    metric = ReferringIoU("qwen_ors")
    for place in range(40):
        metric.update(rng.random((2, 3, 5)) > 0.5, rng.random((1, 3, 5)) > 0.5, image=place // 2, key=place)
    sums = metric.image_sums()
    assert len(sums.images) == 20 and protocols.get("qwen_ors").draws == 10_000
    first, again = (bootstrap(sums, draws=10_000, seed=0) for _ in range(2))
    other = bootstrap(sums, draws=10_000, seed=1)
    assert first == again and first["cIoU"] != other["cIoU"]
    assert all(found.low <= found.value <= found.high for found in first.values())


def test_the_evaluation_takes_its_draws_from_the_preset(monkeypatch: pytest.MonkeyPatch):
    seen = []
    monkeypatch.setattr(
        "mvplm.evaluation.named.bootstrap", lambda sums, *, draws: seen.append(draws) or bootstrap(sums, draws=50)
    )
    mask = np.ones((1, 4), bool)
    thing = Annotation((0, 0, 4, 1), segmentation=encode_mask(mask))
    record = Record(1, "x.jpg", (1, 4), annotations=(thing,), expressions=(Expression("a", (0,)),))
    metrics = ExpressionMetrics("qwen_ors")
    metrics.add(record, record.expressions[0], answer=ExpressionAnswer(mask, mask, (0.0, 0.0, 4.0, 1.0)))
    assert "grec/cIoU" in metrics.intervals() and set(seen) == {10_000}
