"""Bootstrap intervals against closed forms."""

import numpy as np
import pytest
from scipy.stats import binom, norm

from mvplm.evaluation import BoxAccuracy, ImageSums, Interval, ReferringIoU, bootstrap, paired_bootstrap


def ratio(above, below=None, **more) -> ImageSums:
    above = np.asarray(above, float)
    below = np.ones_like(above) if below is None else np.asarray(below, float)
    return ImageSums(range(len(above)), {"x": np.stack([above, below], 1), **more})


def test_a_mean_of_two_images_has_the_three_values_it_can_have():
    """Drawing two of {0, 1}: mean 0, 1/2, 1 with probability 1/4, 1/2, 1/4."""
    sums = ImageSums.of_means({"x": [0.0, 1.0]})
    assert bootstrap(sums)["x"] == Interval(50, 0, 100)
    assert bootstrap(sums, level=0.4)["x"] == Interval(50, 50, 50)


@pytest.mark.parametrize(("images", "right"), [(40, 10), (500, 350)])
def test_a_share_has_the_quantiles_of_the_binomial(images: int, right: int):
    values = np.zeros(images)
    values[:right] = 1
    found = bootstrap(ImageSums.of_means({"Acc": values}), draws=20_000)["Acc"]
    low, high = binom.ppf([0.025, 0.975], images, right / images)
    assert found.value == pytest.approx(100 * right / images)
    # One image is the grain of the quantile.
    assert abs(found.low - 100 * low / images) <= 100 / images + 1e-9
    assert abs(found.high - 100 * high / images) <= 100 / images + 1e-9


def test_a_ratio_of_sums_has_the_error_of_the_delta_method():
    rng = np.random.default_rng(1)
    below = rng.integers(50, 150, 1000).astype(float)
    above = below * rng.uniform(0.4, 0.9, 1000)
    found = bootstrap(ratio(above, below), draws=20_000)["x"]
    share = above.sum() / below.sum()
    half = norm.ppf(0.975) * np.sqrt(((above - share * below) ** 2).sum()) / below.sum()
    assert found.value == pytest.approx(100 * share)
    assert (found.high - found.low) / 2 == pytest.approx(100 * half, rel=0.03)


def test_large_images_weigh_more_in_a_ratio_of_sums():
    found = bootstrap(ratio([90, 0], [90, 10]))["x"]
    assert found == Interval(90, 0, 100)


def test_equal_images_have_no_width_and_one_image_neither():
    assert bootstrap(ratio([3] * 7, [4] * 7))["x"] == Interval(75, 75, 75)
    assert bootstrap(ratio([1], [4]))["x"] == Interval(25, 25, 25)


def test_a_wider_level_has_a_wider_interval_and_holds_the_narrower():
    sums = ImageSums.of_means({"x": np.random.default_rng(0).random(100)})
    narrow, wide = bootstrap(sums, level=0.5)["x"], bootstrap(sums, level=0.99)["x"]
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_one_seed_gives_one_result_whatever_is_held_at_a_time(monkeypatch: pytest.MonkeyPatch):
    sums = ImageSums.of_means({"x": np.random.default_rng(0).random(100)})
    first = bootstrap(sums, seed=3)
    assert bootstrap(sums, seed=3) == first != bootstrap(sums, seed=4)
    monkeypatch.setattr("mvplm.evaluation.intervals._CELLS", 1000)
    assert bootstrap(sums, seed=3)["x"].low == pytest.approx(first["x"].low, rel=1e-12)


def test_images_without_such_samples_say_nothing_and_neither_do_metrics_without_any():
    few = np.array([[1.0, 1], [0, 1], [0, 0], [0, 0]])
    found = bootstrap(ratio([1] * 4, few=few, none=np.zeros((4, 2))))
    assert found["few"] == Interval(50, 0, 100)  # draws without one of the two are left out
    assert "none" not in found
    assert bootstrap(ImageSums([], {})) == {}


def test_paired_differences_keep_what_is_common_out():
    """One system is better by 10 points on every image: the difference is certain, however hard the images vary."""
    hard = np.random.default_rng(0).uniform(0, 0.9, 50)
    difference = paired_bootstrap(ImageSums.of_means({"x": hard}), ImageSums.of_means({"x": hard + 0.1}))["x"]
    assert (difference.value, difference.low, difference.high) == pytest.approx((10, 10, 10))
    alone = bootstrap(ImageSums.of_means({"x": hard}))["x"]
    assert alone.high - alone.low > 10


def test_a_system_does_not_differ_from_itself_in_another_order():
    rng = np.random.default_rng(0)
    table = np.stack([rng.random(20), 1 + rng.random(20)], 1)
    order = rng.permutation(20)
    first = ImageSums([f"image {i}" for i in range(20)], {"x": table, "only here": table})
    second = ImageSums([f"image {i}" for i in order], {"x": table[order]})
    found = paired_bootstrap(first, second)
    assert set(found) == {"x"}
    assert (found["x"].value, found["x"].low, found["x"].high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_two_images_in_which_each_system_is_right_once():
    """The difference is -1, 0 or 1 with probability 1/4, 1/2, 1/4."""
    first, second = ImageSums.of_means({"x": [1.0, 0.0]}), ImageSums.of_means({"x": [0.0, 1.0]})
    assert paired_bootstrap(first, second)["x"] == Interval(0, -100, 100)


def test_what_cannot_be_is_told():
    sums = ImageSums.of_means({"x": [0.0, 1.0]})
    with pytest.raises(ValueError, match="the same images on both sides; 1 are on one only: 2"):
        paired_bootstrap(sums, ImageSums.of_means({"x": [0.0, 1.0, 1.0]}))
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        bootstrap(sums, level=95)
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        bootstrap(sums, draws=0)
    with pytest.raises(ValueError, match=r"x: sums must be \(2, 2\), one row per image"):
        ImageSums([0, 1], {"x": np.zeros((2, 3))})


def test_samples_of_one_image_are_drawn_together():
    several = ImageSums.of_samples(["a", "b", "a", "a"], {"Acc": [1, 0, 1, 1]})
    assert list(several.images) == ["a", "b"] and several.sums["Acc"].tolist() == [[3, 3], [0, 1]]
    assert bootstrap(several)["Acc"] == Interval(75, 0, 100)


def test_box_accuracy_has_intervals_over_images():
    metric = BoxAccuracy()
    for image in range(3):
        metric.update([0, 0, 2, 2], [0, 0, 2, 2], image=image)
        metric.update(None, [0, 0, 2, 2], image=image)
    assert bootstrap(metric.image_sums())["Acc@0.5"] == Interval(50, 50, 50)
    metric.update(None, [0, 0, 2, 2])
    assert len(metric.image_sums().images) == 4 and metric.compute() == {"Acc@0.5": pytest.approx(100 * 3 / 7)}


def test_numbers_of_expressions_have_intervals_over_their_images():
    metric = ReferringIoU("gres")
    right, half = np.ones((1, 4), bool), np.array([[1, 1, 0, 0]], bool)
    for image in range(6):
        metric.update(right, right, image=image)
        metric.update(half, right, image=image)
        metric.update(None, None, image=image)
    found = bootstrap(metric.image_sums())
    assert {name: interval.value for name, interval in found.items()} == pytest.approx(metric.compute())
    assert found["cIoU"] == Interval(75, 75, 75) and found["N-acc"] == Interval(100, 100, 100)
