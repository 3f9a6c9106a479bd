"""Where the pen stands in an answer of bricks: behind every token, the cell of the picture that comes next."""

import re
from typing import Any

import numpy as np

from mvplm.textmask.bricks import LENGTH, ROW_BREAK
from mvplm.textmask.items import TAG, TEXT, cut_ids
from mvplm.textmask.parse_bsd import BOX, SEG

_EDGES = 4


def pen_places(ids: list[int], tokenizer: Any) -> np.ndarray:
    """Column and row (K, 2) int64 of the pen behind each of K tokens; -1 outside of masks.

    Behind the last brick of a row it stands one column right of the box.

    Args:
        ids: of an answer of ``bsd_bricks``. tokenizer: Hugging Face, with the tokens of masks.
    """
    items = cut_ids(tokenizer, ids)
    places = np.full((len(ids), 2), -1, np.int64)
    box: list[int] = []
    pen: list[int] | None = None
    inside = TEXT
    for code, text, end in zip(items.codes.tolist(), items.texts, items.ends[1:].tolist(), strict=True):
        if code == TEXT and inside == BOX:
            box = [int(number) for number in re.findall("[0-9]+", text)]
        if code >= TAG:
            inside = code
            pen = box[:2] if code == SEG and len(box) == _EDGES else None
        elif pen is not None and code == ROW_BREAK:
            pen = [box[0], pen[1] + 1]
        elif pen is not None and code != TEXT:
            pen = [pen[0] + int(LENGTH[code]), pen[1]]
        if pen is not None:
            places[end - 1] = pen
    return places
