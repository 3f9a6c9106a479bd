"""Groups of names have the numbers of their classes alone: results, tables, intervals and paired differences."""

import pytest
from oracles.coco_evaluation import measured, random_set

from mvplm.evaluation import detection_groups
from mvplm.evaluation.detection_groups import DetectionGroups
from mvplm.evaluation.naming import short_names
from mvplm.structures import Vocabulary

NAMES = Vocabulary(("ant", "bee", "cow"), (True, True, True), (1, 2, 3))
GROUPS = {"small animals": ["ant", "bee"], "large animals": ["cow"]}


def grouped(seed: int) -> DetectionGroups:
    out = DetectionGroups(NAMES, masks=True, groups=GROUPS)
    out.ap.merge(measured(random_set(seed, pictures=9, classes=3), 3))
    return out


def test_every_group_has_the_numbers_of_its_classes():
    groups, whole = grouped(1), measured(random_set(1, pictures=9, classes=3), 3)
    results, intervals, tables = groups.compute(), groups.intervals(), groups.tables()
    assert set(intervals) == {
        f"{group}/{kind}_{name}" for group in GROUPS for kind in ("box", "mask") for name in ("AP", "AP50", "AP75")
    }
    for name, interval in intervals.items():
        assert interval.value == pytest.approx(results[name]) and interval.low <= interval.high
    assert intervals["large animals/mask_AP"] == whole.intervals([2])["mask_AP"]
    rows = {row[0]: row for group in GROUPS for row in tables[f"{group}/per_class"].rows}
    assert {name: row[1] for name, row in rows.items()} == {
        NAMES.names[place]: numbers["objects"] for place, numbers in whole.per_class().items()
    }
    assert [row[0] for row in tables["large animals/per_size"].rows] == ["small", "medium", "large"]
    objects = sum(row[1] for row in tables["large animals/per_size"].rows)
    assert objects == whole.per_class()[2]["objects"] < whole.per_size()["all"]["objects"]


def test_differences_are_paired_by_group():
    first, second = grouped(1), grouped(1)
    assert all((d.low, d.value, d.high) == (0, 0, 0) for d in first.differences(second).values())
    other = DetectionGroups(NAMES, masks=True)
    other.ap.merge(first.ap)
    assert first.differences(other) == {}, "they have no group in common"


def test_there_are_no_intervals_of_nothing_and_of_too_many_finds(monkeypatch: pytest.MonkeyPatch):
    empty = DetectionGroups(NAMES, masks=False)
    assert empty.intervals() == {} and empty.differences(empty) == {}
    monkeypatch.setattr(detection_groups, "CHEAP_FINDS", 3)
    assert grouped(1).intervals() == {}
    assert grouped(1).differences(grouped(1)), "who compares gets them in any case"


def test_names_that_would_be_the_same_stay_apart():
    names = ["rec/Acc@0.5", "rec_from_mask/Acc@0.5", "grec/cIoU"]
    assert list(short_names(names, "mine").values()) == ["mine/Acc@0.5", "mine/rec_from_mask/Acc@0.5", "mine/cIoU"]
    assert list(short_names(names, None)) == list(short_names(names, None).values()) == names
