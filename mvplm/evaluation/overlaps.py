"""How many pixels each segment of one map shares with each of another, counted run by run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Listed:
    """The listed segments of one map, by ascending id; row 0 is void.

    Attributes:
        ids: (N+1,) values in the map. places: (N+1,) positions of their categories, 0 for void.
        crowd: (N+1,) bool; void is no crowd. order: (N+1,) where each one stands in the list, 0 for void.
        name: of the map, for messages.
    """

    ids: np.ndarray
    places: np.ndarray
    crowd: np.ndarray
    order: np.ndarray
    name: str

    @classmethod
    def of(cls, segments: Sequence[Mapping[str, Any]], *, places: Mapping[int, int], name: str) -> "Listed":
        """From entries ``{"id", "category_id"}`` with or without ``"iscrowd"``.

        Args:
            segments: N entries. places: position by category id. name: of the map, for messages.

        Raises:
            ValueError: an entry lacks a key, an id is below 1 or occurs twice, or a category is unknown.
        """
        try:
            rows = [(entry["id"], places[entry["category_id"]], entry.get("iscrowd", 0)) for entry in segments]
        except KeyError:
            wrong = next(e for e in segments if "id" not in e or e.get("category_id") not in places)
            raise ValueError(f"the {name} segment {dict(wrong)} lacks 'id' or a known 'category_id'") from None
        table = np.array([(0, 0, 0), *rows], np.int64)
        order = table[:, 0].argsort()
        ids, at, crowd = table[order].T
        if len(ids) > 1 and (ids[0] < 0 or (ids[1:] == ids[:-1]).any()):
            raise ValueError(f"ids of {name} segments must differ and be above 0, got {ids[1:].tolist()[:20]}")
        return cls(ids, at, crowd > 0, order, name)

    def rows(self, values: np.ndarray) -> np.ndarray:
        """Rows of some values of the map. Raises ValueError for values that are not listed."""
        found = self.ids.searchsorted(values)
        strange = self.ids.take(found, mode="clip") != values
        if strange.any():
            unknown = np.unique(values[strange])[:10].tolist()
            raise ValueError(f"the {self.name} panoptic map holds ids {unknown} that no segment lists")
        return found


@dataclass(frozen=True)
class Overlaps:
    """Pairs of segments that share pixels.

    Attributes:
        first, second: (P,) rows of the pair in the two lists, void included. pixels: (P,) how many they share.
        sizes: rows of the two lists.
    """

    first: np.ndarray
    second: np.ndarray
    pixels: np.ndarray
    sizes: tuple[int, int]

    @cached_property
    def first_area(self) -> np.ndarray:
        """Pixels of every row of the first list."""
        return np.bincount(self.first, weights=self.pixels, minlength=self.sizes[0])

    @cached_property
    def second_area(self) -> np.ndarray:
        """Pixels of every row of the second list."""
        return np.bincount(self.second, weights=self.pixels, minlength=self.sizes[1])

    def first_inside(self, chosen: np.ndarray) -> np.ndarray:
        """Pixels of every row of the first list in the chosen (P,) bool pairs."""
        return np.bincount(self.first[chosen], weights=self.pixels[chosen], minlength=self.sizes[0])


def shared_pixels(first: np.ndarray, second: np.ndarray, *, listed: tuple[Listed, Listed]) -> Overlaps:
    """Count the pixels of every pair of ids.

    Neighbours in a line mostly belong to one pair, so the ids are looked up once per run of equal pairs.

    Args:
        first, second: (H, W) integers of one size. listed: the segments of each.

    Raises:
        ValueError: a map holds an id that is not listed.
    """
    a, b = first.ravel(), second.ravel()
    differs = np.ones(a.size, bool)
    np.not_equal(a[1:], a[:-1], out=differs[1:])
    differs[1:] |= b[1:] != b[:-1]
    starts = np.flatnonzero(differs)
    sizes = (len(listed[0].ids), len(listed[1].ids))
    codes = listed[0].rows(a[starts]) * sizes[1] + listed[1].rows(b[starts])
    lengths = np.diff(starts, append=a.size)
    if sizes[0] * sizes[1] <= 4 * len(codes):  # a table of all pairs is small and needs no sorting
        table = np.bincount(codes, weights=lengths, minlength=sizes[0] * sizes[1])
        pairs = np.flatnonzero(table)
        pixels = table[pairs]
    else:
        pairs, inverse = np.unique(codes, return_inverse=True)
        pixels = np.bincount(inverse, weights=lengths, minlength=len(pairs))
    return Overlaps(*np.divmod(pairs, sizes[1]), pixels, sizes)
