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
_number = lru_cache(maxsize=1 << 12)(int)
_RUN = re.compile(r" \*([1-9][0-9]{0,8})(\| |\n |\n\Z|\Z)")


@dataclass(frozen=True)
class LabelCells:
    """Classes int64 (h, w), indices into ``names``: labels as written, in order of first appearance.

    Attributes:
        canonical: whether the encoder would write the same; equal neighbours may stand in two runs.
    """

    classes: np.ndarray
    names: list[str]
    canonical: bool


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
    pieces = [f"{heads[index]}{length}" for index, length in zip(flat[start].tolist(), lengths.tolist(), strict=True)]
    return "".join(pieces)[2:] + ("\n" if mode == "rrle" else "")


def decode_isd(body: str, *, shape: tuple[int, int], mode: str) -> LabelCells:
    """Cells of a body that has exactly the spelling of ``mode`` and fills the grid (h, w).

    Raises:
        CodecError: any other body. ValueError: an unknown mode.
    """
    check_way("descriptor", mode, choices=MODES)
    parts = body.split("| ") if mode == "full" else _RUN.split(body)
    labels = parts if mode == "full" else parts[:-1:3]
    names = list(dict.fromkeys(labels))
    if (mode != "full" and parts[-1]) or any(not name or "|" in name or "\n" in name for name in names):
        raise CodecError(f"not a body of separators and runs as in {mode!r}: {body[:40]!r}")
    index = {name: place for place, name in enumerate(names)}
    which = np.fromiter(map(index.__getitem__, labels), np.int64, len(labels))
    if mode == "full":
        if len(which) != shape[0] * shape[1]:
            raise CodecError(f"{len(which)} cells, expected {shape[0]}x{shape[1]}")
        return LabelCells(which.reshape(shape), names, True)
    counts = np.fromiter(map(_number, parts[1::3]), np.int64, len(labels))
    end = counts.cumsum()
    breaks = parts[2::3]
    # Where the runs so far fill whole rows; in one line of all rows only the end counts.
    height, width = shape if mode == "rrle" else (1, shape[0] * shape[1])
    last = (end % width == 0).nonzero()[0]
    expected = ["\n "] * (height - 1) + ["\n" if mode == "rrle" else ""]
    good = [breaks[place] for place in last.tolist()] == expected and breaks.count("| ") == len(breaks) - height
    if not good or end[-1] != shape[0] * shape[1]:
        raise CodecError(f"the runs do not fill a grid of {shape[0]}x{shape[1]}")
    same = which[1:] == which[:-1]
    same[last[:-1]] = False
    return LabelCells(which.repeat(counts).reshape(shape), names, not same.any())
