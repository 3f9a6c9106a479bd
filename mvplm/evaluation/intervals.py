"""Bootstrap confidence intervals over images, for every metric that can be told from sums over images.

A draw of images is a count for each of them, so nothing is measured again: the sums of an image count that often.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

_CELLS = 2**21
"""Images x draws that are held at a time."""


class Sums(Protocol):
    """What each image adds to the sums that metrics are made of."""

    @property
    def images(self) -> Sequence[Hashable]:
        """Key of each image."""
        ...

    def countable(self) -> list[str]:
        """Names of the metrics that have something to count."""
        ...

    def ordered(self, images: Sequence[Hashable]) -> "Sums":
        """The same with rows in the order of ``images``. Raises ValueError for other images."""
        ...

    def weighed(self, counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Percent (D, metrics) when image i is there ``counts[d, i]`` times; NaN where there is nothing to count."""
        ...


@dataclass(frozen=True)
class ImageSums:
    """Metrics as ratios of sums: what each image adds to numerator and denominator.

    Attributes:
        images: key of each image.
        sums: metric -> (images, 2) float64, numerator and denominator. A mean has the number of samples below.
    """

    images: Sequence[Hashable]
    sums: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        for name, values in self.sums.items():
            if values.shape != (len(self.images), 2):
                raise ValueError(f"{name}: sums must be ({len(self.images)}, 2), one row per image, got {values.shape}")

    @classmethod
    def of_means(cls, values: Mapping[str, Sequence[float]]) -> "ImageSums":
        """Metrics that are means of one value per image; images are numbered."""
        count = len(next(iter(values.values()), ()))
        return cls.of_samples(range(count), values)

    @classmethod
    def of_samples(cls, images: Sequence[Hashable], values: Mapping[str, Sequence[float]]) -> "ImageSums":
        """Metrics that are means of one value per sample, where an image can have several samples.

        Args:
            images: image of each sample.
            values: metric -> value of each sample.
        """
        rows = {image: row for row, image in enumerate(dict.fromkeys(images))}
        places = [rows[image] for image in images]
        sums = {}
        for name, column in values.items():
            sums[name] = np.zeros((len(rows), 2))
            np.add.at(sums[name], places, np.stack([np.asarray(column, np.float64), np.ones(len(places))], 1))
        return cls(list(rows), sums)

    def values(self) -> dict[str, float]:
        """Metric -> percent; metrics with nothing below are 0."""
        totals = {name: values.sum(0) for name, values in self.sums.items()}
        return {name: float(100 * above / below) if below else 0.0 for name, (above, below) in totals.items()}

    def ordered(self, images: Sequence[Hashable]) -> "ImageSums":
        """The same with rows in the order of ``images``.

        Raises:
            ValueError: other images.
        """
        if list(images) == list(self.images):
            return self
        order = same_images(self.images, images)
        return ImageSums(images, {name: values[order] for name, values in self.sums.items()})

    def countable(self) -> list[str]:
        """Metrics with something below."""
        return [name for name, values in self.sums.items() if values[:, 1].sum()]

    def weighed(self, counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Percent (D, metrics) when image i is there ``counts[d, i]`` times; NaN where there is nothing below."""
        if not names:
            return np.zeros((len(counts), 0))
        above, below = (np.stack([np.asarray(self.sums[n], np.float64)[:, side] for n in names], 1) for side in (0, 1))
        with np.errstate(invalid="ignore"):
            return 100 * (counts @ above) / (counts @ below)


def same_images(mine: Sequence[Hashable], images: Sequence[Hashable]) -> list[int]:
    """Where each of ``images`` stands among ``mine``. Raises ValueError when the two are not the same images."""
    place = {image: row for row, image in enumerate(mine)}
    if missing := set(place).symmetric_difference(images):
        some = ", ".join(sorted(map(str, missing))[:3])
        raise ValueError(
            f"paired differences need the same images on both sides; {len(missing)} are on one only: {some} ..."
        )
    return [place[image] for image in images]


@dataclass(frozen=True)
class Interval:
    """A value in percent, or a difference in points, with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(sums: Sums, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals of every metric; images are drawn with replacement.

    Args:
        sums: the metrics.
        level: share of the draws inside, in (0, 1).
        draws: bootstrap samples.
        seed: of the generator; one seed gives one result.

    Metrics with nothing to count are left out, as are all of them without images.

    Raises:
        ValueError: ``level`` or ``draws`` out of range.
    """
    names = sums.countable()
    counts = draw_counts(len(sums.images), draws=draws, seed=seed)
    drawn = np.concatenate([sums.weighed(some, names) for some in counts])
    return percentile_intervals(names, _whole(sums, names), drawn=drawn, level=level)


def paired_bootstrap(
    first: Sums, second: Sums, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> dict[str, Interval]:
    """Percentile intervals of ``second - first`` in points, for every metric that both have.

    Each draw takes the same images for both, so what makes an image hard for both does not widen the interval.

    Args:
        first: the metrics of one system.
        second: the metrics of another, on the same images in any order.
        level: share of the draws inside, in (0, 1).
        draws: bootstrap samples.
        seed: of the generator.

    Raises:
        ValueError: other images, or ``level`` or ``draws`` out of range.
    """
    second = second.ordered(first.images)
    both = second.countable()
    names = [name for name in first.countable() if name in both]
    counts = draw_counts(len(first.images), draws=draws, seed=seed)
    drawn = np.concatenate([second.weighed(some, names) - first.weighed(some, names) for some in counts])
    return percentile_intervals(names, _whole(second, names) - _whole(first, names), drawn=drawn, level=level)


def by_image(sums: Sums, name: str) -> dict[Hashable, float]:
    """A metric of every image by itself, in percent; images that have nothing to count are left out."""
    count = len(sums.images)
    step = max(_CELLS // max(count, 1), 1)
    out: dict[Hashable, float] = {}
    for start in range(0, count, step):
        rows = range(start, min(start + step, count))
        alone = sums.weighed(np.eye(len(rows), count, start), [name])[:, 0]
        out |= {sums.images[row]: float(value) for row, value in zip(rows, alone, strict=True) if not np.isnan(value)}
    return out


def _whole(sums: Sums, names: Sequence[str]) -> np.ndarray:
    """Percent (metrics,) over all images once."""
    return sums.weighed(np.ones((1, len(sums.images))), names)[0]


def draw_counts(images: int, *, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is in each draw, (some draws, images) float64, until there are ``draws`` of them."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    generator = np.random.default_rng(seed)
    step = max(_CELLS // max(images, 1), 1)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picks = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def percentile_intervals(
    names: Sequence[str], point: np.ndarray, *, drawn: np.ndarray, level: float
) -> dict[str, Interval]:
    """Intervals of metrics from their values in every draw.

    Args:
        names: of the metrics. point: (metrics,) their values. drawn: (draws, metrics), NaN where a draw has none.
        level: share of the draws inside, in (0, 1).

    Raises:
        ValueError: ``level`` out of range.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    if not names:
        return {}
    tail = 50 * (1 - level)
    low, high = np.nanpercentile(drawn, [tail, 100 - tail], axis=0)
    return {
        name: Interval(float(point[column]), float(low[column]), float(high[column]))
        for column, name in enumerate(names)
    }
