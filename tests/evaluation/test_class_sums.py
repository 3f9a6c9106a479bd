"""Means over classes under a bootstrap of images, against a version that really repeats the images."""

import numpy as np
import pytest

from mvplm.evaluation import PanopticQuality, SemanticIoU, bootstrap, by_image, paired_bootstrap

CATEGORIES = [{"id": 10 + place, "name": f"c{place}", "isthing": place < 3} for place in range(6)]
IMAGES = 12


def maps(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A true map of a few blocks, and a prediction of it with some blocks wrong; values are class + 1, 0 is void."""
    true = np.kron(rng.choice(6, size=(3, 3), p=[0.3, 0.3, 0.2, 0.1, 0.05, 0.05]) + 1, np.ones((4, 4), int))
    guess = true.copy()
    for _ in range(3):
        y, x = rng.integers(0, 10, 2)
        guess[y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = rng.integers(0, 7)
    return guess, true


PICTURES = [maps(np.random.default_rng(seed)) for seed in range(IMAGES)]


def segments(values: np.ndarray) -> list[dict]:
    return [{"id": int(v), "category_id": 9 + int(v)} for v in np.unique(values) if v]


def quality(picks, pictures=PICTURES) -> PanopticQuality:
    metric = PanopticQuality(CATEGORIES)
    for number, pick in enumerate(picks):
        guess, true = pictures[pick]
        key = (pick, sum(p == pick for p in picks[:number]))
        metric.update(guess, segments(guess), true, segments(true), key=key)
    return metric


def semantic(picks) -> SemanticIoU:
    metric = SemanticIoU(6)
    for number, pick in enumerate(picks):
        guess, true = PICTURES[pick]
        metric.update(guess - 1, true - 1, key=(pick, sum(p == pick for p in picks[:number])))
    return metric


def naive(picks) -> dict[str, float]:
    """The metrics of a set in which every picked image is really there, as often as it was picked."""
    found = {name: value for name, value in quality(picks).compute().items() if name != "per_class"}
    return {**found, **semantic(picks).compute()}


def all_sums(picks) -> list:
    return [quality(picks).image_sums(), semantic(picks).image_sums()]


def test_a_draw_is_the_metric_of_the_repeated_images():
    rng = np.random.default_rng(5)
    for _ in range(30):
        picks = rng.integers(IMAGES, size=IMAGES).tolist()
        counts = np.bincount(picks, minlength=IMAGES)[None].astype(float)
        expected = naive(picks)
        for sums in all_sums(list(range(IMAGES))):
            names = sums.countable()
            found = sums.weighed(counts, names)[0]
            # No class of a group may be among a draw; the metric then says 0, the draw that it is not known.
            assert np.nan_to_num(found) == pytest.approx([expected[name] for name in names], abs=1e-9)


def test_intervals_are_those_of_repeated_images():
    draws, seed = 60, 3
    rows = np.random.default_rng(seed).integers(IMAGES, size=(draws, IMAGES))
    repeated = [naive(row.tolist()) for row in rows]
    for sums in all_sums(list(range(IMAGES))):
        for name, found in bootstrap(sums, draws=draws, seed=seed).items():
            values = [values[name] for values in repeated]
            expected = np.percentile(values, [2.5, 97.5])
            assert (found.low, found.high) == pytest.approx(expected, abs=1e-9), name
            assert found.value == pytest.approx(naive(range(IMAGES))[name], abs=1e-9)


def test_paired_differences_are_those_of_repeated_images_in_any_order():
    better = [(np.where(np.arange(12)[:, None] < 4, true, guess), true) for guess, true in PICTURES]
    draws, seed = 60, 3
    rows = np.random.default_rng(seed).integers(IMAGES, size=(draws, IMAGES)).tolist()
    values = [quality(r, better).compute()["panoptic/PQ"] - quality(r).compute()["panoptic/PQ"] for r in rows]
    second = quality(list(reversed(range(IMAGES))), better).image_sums()
    found = paired_bootstrap(quality(range(IMAGES)).image_sums(), second, draws=draws, seed=seed)["panoptic/PQ"]
    assert (found.low, found.high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=1e-9)
    with pytest.raises(ValueError, match="the same images on both sides; 1 are on one only"):
        paired_bootstrap(second, quality(range(IMAGES - 1)).image_sums())


def test_every_image_by_itself():
    found = by_image(quality(range(IMAGES)).image_sums(), "panoptic/PQ")
    alone = {(pick, 0): quality([pick]).compute()["panoptic/PQ"] for pick in range(IMAGES)}
    assert found == pytest.approx(alone, abs=1e-9)
    nothing = PanopticQuality(CATEGORIES)
    nothing.update(np.zeros((2, 2), int), [], np.zeros((2, 2), int), [], key=0)
    assert by_image(nothing.image_sums(), "panoptic/PQ") == {} == bootstrap(nothing.image_sums())
    assert bootstrap(PanopticQuality(CATEGORIES).image_sums()) == {} == bootstrap(SemanticIoU(3).image_sums())


def test_five_thousand_images_stay_small():
    """133 names: a table of pairs for each image would be 700 MB."""
    metric = SemanticIoU(133)
    rng = np.random.default_rng(0)
    true = np.kron(rng.integers(133, size=(4, 4)), np.ones((4, 4), int))
    for image in range(5000):
        metric.update(np.roll(true, image % 5, 0), true, key=image)
    assert sum(cells.places.nbytes + cells.pixels.nbytes for cells in metric._gathered()) < 10e6
    found = bootstrap(metric.image_sums(), draws=50)["mIoU"]
    assert found.low < found.value < found.high


def test_classes_of_a_semantic_map():
    metric = SemanticIoU(3)
    metric.update(np.array([[0, 0, 1, 7]]), np.array([[0, 1, 1, 1]]))
    assert metric.confusion().tolist() == [[1, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]]
    assert metric.per_class() == {
        0: {"IoU": pytest.approx(50.0), "pixels": 1},
        1: {"IoU": pytest.approx(100 / 3), "pixels": 3},
    }
