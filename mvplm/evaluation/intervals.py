"""Bootstrap confidence intervals over images, for every metric that is a ratio of sums over images."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_CELLS = 2**21
"""Images x draws that are held at a time."""


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
        place = {image: row for row, image in enumerate(self.images)}
        if missing := set(place).symmetric_difference(images):
            some = ", ".join(sorted(map(str, missing))[:3])
            raise ValueError(
                f"paired differences need the same images on both sides; {len(missing)} are on one only: {some} ..."
            )
        order = [place[image] for image in images]
        return ImageSums(images, {name: values[order] for name, values in self.sums.items()})


@dataclass(frozen=True)
class Interval:
    """A value in percent, or a difference in points, with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(sums: ImageSums, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals of every metric; images are drawn with replacement.

    Args:
        sums: the metrics.
        level: share of the draws inside, in (0, 1).
        draws: bootstrap samples.
        seed: of the generator; one seed gives one result.

    Metrics with nothing below are left out, as are all of them without images.

    Raises:
        ValueError: ``level`` or ``draws`` out of range.
    """
    names = _countable(sums)
    table = _stacked(sums, names)
    return percentile_intervals(names, _ratio(table.sum(0)), drawn=_drawn(table, draws=draws, seed=seed), level=level)


def paired_bootstrap(
    first: ImageSums, second: ImageSums, *, level: float = 0.95, draws: int = 1000, seed: int = 0
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
    names = [name for name in _countable(first) if name in _countable(second)]
    table = np.concatenate([_stacked(side, names) for side in (first, second)], axis=2)
    point, drawn = _ratio(table.sum(0)), _drawn(table, draws=draws, seed=seed)
    half = len(names)
    return percentile_intervals(
        names, point[half:] - point[:half], drawn=drawn[:, half:] - drawn[:, :half], level=level
    )


def _countable(sums: ImageSums) -> list[str]:
    """Metrics with something below."""
    return [name for name, values in sums.sums.items() if values[:, 1].sum()]


def _stacked(sums: ImageSums, names: Sequence[str]) -> np.ndarray:
    """(images, 2, metrics) float64."""
    columns = [np.asarray(sums.sums[name], np.float64) for name in names]
    return np.stack(columns, axis=2) if columns else np.zeros((len(sums.images), 2, 0))


def _ratio(totals: np.ndarray) -> np.ndarray:
    """Percent (..., metrics) of totals (..., 2, metrics); NaN where there is nothing below."""
    with np.errstate(invalid="ignore"):
        return 100 * totals[..., 0, :] / totals[..., 1, :]


def _drawn(table: np.ndarray, *, draws: int, seed: int) -> np.ndarray:
    """Percent (draws, metrics) over images drawn with replacement from (images, 2, metrics)."""
    if draws < 1:
        raise ValueError(f"draws must be at least 1, got {draws}")
    images, _, metrics = table.shape
    if not metrics:
        return np.zeros((draws, 0))
    flat = table.reshape(images, 2 * metrics)
    parts = [counts @ flat for counts in draw_counts(images, draws=draws, seed=seed)]
    return _ratio(np.concatenate(parts).reshape(draws, 2, metrics))


def draw_counts(images: int, *, draws: int, seed: int) -> Iterator[np.ndarray]:
    """How often each image is in each draw, (some draws, images) float64, until there are ``draws`` of them."""
    generator = np.random.default_rng(seed)
    step = max(_CELLS // images, 1)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        picks = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * images).reshape(rows, images).astype(np.float64)


def percentile_intervals(
    names: Sequence[str], point: np.ndarray, *, drawn: np.ndarray, level: float
) -> dict[str, Interval]:
    """Percentile intervals of metrics.

    Args:
        names: M metrics. point: (M,) their values. drawn: (draws, M) those of each draw.
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
