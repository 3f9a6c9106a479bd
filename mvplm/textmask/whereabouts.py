"""Which box each token of a box-wise answer is about, from its label to the end of its mask, and which row it is in."""

import re
from typing import Any

import numpy as np

from mvplm.textmask.bricks import LENGTH, ROW_BREAK
from mvplm.textmask.items import TAG, TEXT, cut_ids
from mvplm.textmask.parse_bsd import BOX, REF, SEG

_EDGES = 4


def boxes_of_tokens(ids: list[int], tokenizer: Any) -> np.ndarray:
    """Edges (K, 4) int64, in steps of the codec, of the box that each of K tokens is about; -1 in front of all blocks.

    Args:
        ids: of an answer of a box-wise codec. tokenizer: Hugging Face, with the tokens of masks.
    """
    items = cut_ids(tokenizer, ids)
    places = np.full((len(ids), _EDGES), -1, np.int64)
    starts: list[int] = []
    boxes: list[list[int]] = []
    inside = TEXT
    ends = items.ends.tolist()
    for code, text, start in zip(items.codes.tolist(), items.texts, ends[:-1], strict=True):
        if code == REF:
            starts.append(start)
        if code == TEXT and inside == BOX:
            boxes.append([int(number) for number in re.findall("[0-9]+", text)])
        if code >= TAG:
            inside = code
    for start, box in zip(starts, boxes, strict=False):
        if len(box) == _EDGES:
            places[start:] = box
    return places


def rows_of_tokens(ids: list[int], tokenizer: Any, *, canvas: tuple[int, int]) -> np.ndarray:
    """The row (K,) int64 of a canvas that is written behind each of K tokens; -1 outside of masks and behind the last.

    Args:
        ids: of an answer with bricks. tokenizer: Hugging Face, with the tokens of masks. canvas: (h, w) cells.
    """
    items = cut_ids(tokenizer, ids)
    rows = np.full(len(ids), -1, np.int64)
    filled = canvas[0] * canvas[1]
    for code, start in zip(items.codes.tolist(), items.ends[:-1].tolist(), strict=True):
        if code >= TAG:
            filled = 0 if code == SEG else canvas[0] * canvas[1]
        elif 0 <= code < ROW_BREAK:
            filled += int(LENGTH[code])
        row = filled // canvas[1]
        rows[start:] = row if row < canvas[0] else -1
    return rows
