"""Image-wise descriptors: one label per cell of the picture, as plain text in three spellings.

``full`` names every cell, ``irle`` counts runs over the whole raster, ``rrle`` counts runs inside rows. This file is
the strict pair; :mod:`mvplm.textmask.parse_isd` reads damaged answers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mvplm.textmask.errors import CodecError
from mvplm.textmask.grid import check_way

MODES = ("full", "irle", "rrle")
OPEN, CLOSE = "<seg>", "</seg>"
_RUN = re.compile(r" \*([1-9][0-9]{0,8}(?:\| |\n |\n\Z|\Z))")
_written = lru_cache(maxsize=1 << 12)(str)


@dataclass(frozen=True)
class LabelCells:
    """Classes int64 (h, w), indices into ``names``: labels as written, in order of first appearance.

    Attributes:
        canonical: whether the encoder would write the same; equal neighbours may stand in two runs.
    """

    classes: np.ndarray
    names: list[str]
    canonical: bool


class _Places(dict[str, int]):
    """The place of a label among those met so far."""

    def __missing__(self, name: str) -> int:
        if not name or "|" in name or "\n" in name:
            raise CodecError(f"not a label between separators: {name[:40]!r}")
        self[name] = place = len(self)
        return place


@lru_cache(maxsize=1 << 12)
def _read(count: str) -> int:
    """``cells * 2 + whether a row ends`` of a count with what stands behind it."""
    digits = count.rstrip("| \n")
    return 2 * int(digits) + (count[len(digits) :] != "| ")


def encode_isd(classes: np.ndarray, names: Sequence[str], *, mode: str) -> str:
    """The body of an answer.

    Args:
        classes: (h, w) int, index into ``names``. names: labels as they are to be written, escaped.
        mode: ``full``, ``irle`` or ``rrle``.

    Raises:
        ValueError: an unknown mode.
    """
    check_way("descriptor", mode, choices=MODES)
    flat = classes.ravel()
    if mode == "full":
        return "| ".join([names[index] for index in flat.tolist()])
    width = classes.shape[1]
    change = np.empty(len(flat) + 1, bool)
    change[0] = change[-1] = True
    np.not_equal(flat[1:], flat[:-1], out=change[1:-1])
    if mode == "rrle":
        change[::width] = True
    edges = change.nonzero()[0]
    start, lengths = edges[:-1], edges[1:] - edges[:-1]
    heads = [f"| {name} *" for name in names]
    if mode == "rrle":
        heads += [f"\n {name} *" for name in names]
        flat = flat.copy()
        flat[::width] += len(names)
    pieces = [""] * (2 * len(start))
    pieces[::2] = map(heads.__getitem__, flat[start].tolist())
    pieces[1::2] = map(_written, lengths.tolist())
    return "".join(pieces)[2:] + ("\n" if mode == "rrle" else "")


def decode_isd(body: str, *, shape: tuple[int, int], mode: str) -> LabelCells:
    """Cells of a body that has exactly the spelling of ``mode`` and fills the grid (h, w).

    Raises:
        CodecError: any other body. ValueError: an unknown mode.
    """
    check_way("descriptor", mode, choices=MODES)
    places, cells = _Places(), shape[0] * shape[1]
    if mode == "full":
        which = _places_of(body.split("| "), places)
        if len(which) != cells:
            raise CodecError(f"{len(which)} cells, expected {shape[0]}x{shape[1]}")
        return LabelCells(which.reshape(shape), list(places), True)
    *parts, rest = _RUN.split(body)
    broken = not body.endswith("\n") if mode == "rrle" else "\n" in body
    if rest or not parts or broken:
        raise CodecError(f"not a body of separators and runs as in {mode!r}: {body[:40]!r}")
    which = _places_of(parts[::2], places)
    counts = np.fromiter(map(_read, parts[1::2]), np.int64, len(which))
    breaks = counts & 1
    counts >>= 1
    end = counts.cumsum()
    # Where the runs so far fill whole rows; in one line of all rows only the end counts.
    height, width = shape if mode == "rrle" else (1, cells)
    full = end % width == 0
    if end[-1] != cells or np.count_nonzero(full) != height or np.count_nonzero(full != breaks):
        raise CodecError(f"the runs do not fill a grid of {shape[0]}x{shape[1]}")
    same = which[1:] == which[:-1]
    same[full[:-1]] = False
    return LabelCells(which.repeat(counts).reshape(shape), list(places), not np.count_nonzero(same))


def _places_of(names: list[str], places: _Places) -> np.ndarray:
    return np.fromiter(map(places.__getitem__, names), np.int64, len(names))
