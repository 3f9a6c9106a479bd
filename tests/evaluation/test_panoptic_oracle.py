"""Panoptic quality against the naive implementation: random and adversarial maps, and real truth perturbed."""

import pickle

import numpy as np
import pytest
from oracles.naive_pq import (
    CATEGORIES,
    KINDS,
    NaivePanopticQuality,
    draw_sample,
    many_segments,
    pairs_by_codes,
    perturbed,
)

from mvplm.data.datasets.coco_files import read_json
from mvplm.data.panoptic_png import read_panoptic
from mvplm.evaluation import PanopticQuality

EXACT = 1e-12


def compare(fast, naive):
    found, expected = fast.compute(), naive.compute()
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=EXACT, rel=0)
    for id_, counts in naive.counts.items():
        here = found["per_class"].get(id_, {"TP": 0, "FP": 0, "FN": 0})
        assert [here[name] for name in ("TP", "FP", "FN")] == [counts[name] for name in ("tp", "fp", "fn")]


def test_five_hundred_maps_one_by_one_and_together():
    rng = np.random.default_rng(0)
    fast, naive = PanopticQuality(CATEGORIES), NaivePanopticQuality(CATEGORIES)
    for turn in range(500):
        sample = draw_sample(KINDS[turn % len(KINDS)], rng)
        alone = PanopticQuality(CATEGORIES), NaivePanopticQuality(CATEGORIES)
        for metric in (fast, naive, *alone):
            metric.update(**sample)
        compare(*alone)
    compare(fast, naive)
    assert len(fast) == 500 and 0 < fast.compute()["panoptic/PQ"] < 100


def test_two_thousand_segments():
    for sample in many_segments(np.random.default_rng(1)):
        fast, naive = PanopticQuality(CATEGORIES), NaivePanopticQuality(CATEGORIES, pairs_by_codes)
        fast.update(**sample)
        naive.update(**sample)
        compare(fast, naive)


def test_both_ways_of_counting_pixels_agree_on_one_line():
    """Few pixels and many ids take the way that sorts, many pixels and few ids the table."""
    for count in (2, 40):
        line = np.arange(1, count + 1)[None].repeat(3, 0)
        segments = [{"id": i, "category_id": 7, "iscrowd": 0} for i in range(1, count + 1)]
        metric = PanopticQuality(CATEGORIES)
        metric.update(line, segments, line, segments)
        assert metric.compute()["per_class"][7]["TP"] == count


def test_shares_of_processes_merge_to_the_whole():
    rng = np.random.default_rng(2)
    samples = [draw_sample(KINDS[turn % len(KINDS)], rng) for turn in range(60)]
    whole, shares = PanopticQuality(CATEGORIES), [PanopticQuality(CATEGORIES) for _ in range(3)]
    for turn, sample in enumerate(samples):
        whole.update(**sample)
        shares[turn % 3].update(**sample, key=turn if turn % 2 else None)
    shares[1].update(**samples[1], key=1)  # seen twice
    merged = PanopticQuality(CATEGORIES)
    for share in shares:
        merged.merge(pickle.loads(pickle.dumps(share)))
    found, expected = merged.compute(), whole.compute()
    assert len(merged) == 60
    assert {k: found[k] for k in found if k != "per_class"} == pytest.approx(
        {k: expected[k] for k in expected if k != "per_class"}, abs=EXACT, rel=0
    )
    assert found["per_class"].keys() == expected["per_class"].keys()


def test_real_truth_perturbed(shared_data):
    folder = shared_data / "coco_mini"
    if not folder.is_dir():
        pytest.skip(f"no real annotations: {folder} is absent")
    data = read_json(folder / "annotations" / "panoptic_val.json")
    ids = [category["id"] for category in data["categories"]]
    fast, naive = PanopticQuality(data["categories"]), NaivePanopticQuality(data["categories"], pairs_by_codes)
    same = PanopticQuality(data["categories"])
    rng = np.random.default_rng(3)
    for entry in data["annotations"]:
        gt_map = read_panoptic(folder / "panoptic_val" / entry["file_name"])
        sample = perturbed(gt_map, entry["segments_info"], rng, ids=ids)
        fast.update(**sample)
        naive.update(**sample)
        same.update(gt_map, entry["segments_info"], gt_map, entry["segments_info"])
    compare(fast, naive)
    found = same.compute()
    assert found.pop("per_class") and set(found.values()) == {100.0}
    assert 0 < fast.compute()["panoptic/PQ"] < 90
