"""Leaks: pictures that stand in two datasets, and those that must not be trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from mvplm.data.datasets.base import picture_key
from mvplm.data.datasets.refer import read_entries, refs_places
from mvplm.data.views import pictures
from mvplm.structures import Record

HELD_OUT = (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd"), ("grefcoco", "unc"))
"""The sets, and who split them, whose val and test pictures are kept out of training. Google's splits are not among
them: they divide objects, not pictures."""


@dataclass(frozen=True)
class Overlap:
    """Two datasets by name, and the keys of the pictures that stand in both, sorted."""

    first: str
    second: str
    keys: tuple[str, ...]


def find_leaks(datasets: Mapping[str, Sequence[Record]]) -> list[Overlap]:
    """Overlap of every two datasets, in the order given.

    Pictures are told apart by the numbers in their file names (COCO's ids) and by their collection, never by content.

    Raises:
        ValueError: fewer than two datasets, or one without pictures on disk.
    """
    if len(datasets) < 2:
        raise ValueError(f"leaks are looked for between two or more datasets, got {len(datasets)}")
    known = {name: pictures(records) for name, records in datasets.items()}
    for name, keys in known.items():
        if not keys:
            raise ValueError(f"dataset {name!r} has no pictures on disk")
    return [
        Overlap(first, second, tuple(sorted(known[first] & known[second]))) for first, second in combinations(known, 2)
    ]


def held_out_pictures(root: str | Path) -> set[str]:
    """Pictures that no training may see: of all val and test splits of ``HELD_OUT`` that lie below ``root``.

    Only the files of the refs are read; a set that is not there has no pictures to leave out.

    Raises:
        ValueError: a file that is there cannot be read.
    """
    keys = set()
    for dataset, by in HELD_OUT:
        found = [path for place in refs_places(dataset, by) if (path := Path(root) / place).is_file()][:1]
        for path in found:
            keys |= {picture_key(str(ref["image_id"])) for ref in read_entries(path) if ref["split"] != "train"}
    return keys
