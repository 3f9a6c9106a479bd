"""Means over classes by image, for confidence intervals: PQ, mIoU and their like."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from mvplm.evaluation.intervals import Sums, same_images


@dataclass(frozen=True)
class ClassMean:
    """A metric: the mean over the classes that occur of ``above / below``, 0 where only ``below`` is nothing.

    Attributes:
        above, below: columns of the ratio. occurs: column that is above 0 for the classes that occur.
        classes: (K,) bool, those that are averaged over.
    """

    above: str
    below: str
    occurs: str
    classes: np.ndarray


@dataclass(frozen=True)
class ClassSums:
    """Metrics as means over classes of a ratio of sums: what each image adds for each class.

    Attributes:
        images: key of each image.
        columns: name -> (images, K) sparse; an image holds only the classes it touches.
        means: metric -> how it is made of the columns.
    """

    images: Sequence[Hashable]
    columns: Mapping[str, csr_array]
    means: Mapping[str, ClassMean]

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if column.shape[0] != len(self.images):
                raise ValueError(f"{name} must have {len(self.images)} rows, one per image, got {column.shape}")

    def countable(self) -> list[str]:
        """Metrics of which at least one class occurs."""
        seen = {name: np.asarray(column.sum(0)).ravel() > 0 for name, column in self.columns.items()}
        return [name for name, mean in self.means.items() if (seen[mean.occurs] & mean.classes).any()]

    def ordered(self, images: Sequence[Hashable]) -> "ClassSums":
        """The same with rows in the order of ``images``. Raises ValueError for other images."""
        if list(images) == list(self.images):
            return self
        order = same_images(self.images, images)
        return ClassSums(images, {name: column[order] for name, column in self.columns.items()}, self.means)

    def weighed(self, counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Percent (D, metrics) when image i is there ``counts[d, i]`` times; NaN where no class occurs."""
        totals = {name: (column.T @ counts.T).T for name, column in self.columns.items()}
        found = [_mean(totals, self.means[name]) for name in names]
        return np.stack(found, 1) if found else np.zeros((len(counts), 0))


@dataclass(frozen=True)
class JoinedSums:
    """Metrics of different make about the same images in the same order."""

    parts: tuple[Sums, ...]

    @property
    def images(self) -> Sequence[Hashable]:
        """Key of each image."""
        return self.parts[0].images

    def countable(self) -> list[str]:
        """Names of the metrics that have something to count."""
        return [name for part in self.parts for name in part.countable()]

    def ordered(self, images: Sequence[Hashable]) -> "JoinedSums":
        """The same with rows in the order of ``images``. Raises ValueError for other images."""
        return JoinedSums(tuple(part.ordered(images) for part in self.parts))

    def weighed(self, counts: np.ndarray, names: Sequence[str]) -> np.ndarray:
        """Percent (D, metrics) when image i is there ``counts[d, i]`` times; NaN where there is nothing to count."""
        columns: dict[str, np.ndarray] = {}
        for part in self.parts:
            wanted = [name for name in part.countable() if name in names]
            columns |= dict(zip(wanted, part.weighed(counts, wanted).T, strict=True))
        return np.stack([columns[name] for name in names], 1) if names else np.zeros((len(counts), 0))


def sparse_column(rows: np.ndarray, classes: np.ndarray, *, values: np.ndarray, shape: tuple[int, int]) -> csr_array:
    """A column (images, K) of entries; those of one image and class are added up."""
    return csr_array((np.asarray(values, np.float64), (rows, classes)), shape=shape)


def _mean(totals: Mapping[str, np.ndarray], mean: ClassMean) -> np.ndarray:
    """Percent (D,) of totals (D, K)."""
    above, below, occurs = (totals[name][:, mean.classes] for name in (mean.above, mean.below, mean.occurs))
    ratio = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    with np.errstate(invalid="ignore"):
        return 100 * ratio.sum(1) / (occurs > 0).sum(1)
