"""Which box every token of an answer is about."""

import numpy as np
import pytest
from oracles.small_vlms import text_mask_parts

from mvplm.textmask import get_codec
from mvplm.textmask.whereabouts import boxes_of_tokens, rows_of_tokens

TOKENIZER = text_mask_parts("qwen3_vl").processor.tokenizer


@pytest.mark.parametrize(("name", "options"), [("bsd_bricks", {}), ("canvas", {"bins": 24, "row_sep": "\n"})])
def test_tokens_from_a_label_to_the_next_one_are_about_its_box(name: str, options: dict[str, object]):
    grids = np.zeros((2, 48, 48), bool)
    grids[0, 6:10, 22:30] = grids[1, 30:44, 4:20] = True
    codec = get_codec(name, grid=24, **options)
    ids = codec.encode_ids(grids, ["a star", "a ring"], question=["a star", "a ring"], tokenizer=TOKENIZER)
    words = [TOKENIZER.decode([token]) for token in ids]
    second = len(words) - 1 - words[::-1].index("<ref>")
    first, other = [11, 3, 15, 5], [2, 15, 10, 22]
    assert boxes_of_tokens(ids, TOKENIZER).tolist() == [first] * second + [other] * (len(ids) - second)


def test_text_is_about_no_box():
    ids = TOKENIZER.encode("No object in the image matches the request.", add_special_tokens=False)
    assert (boxes_of_tokens(ids, TOKENIZER) == -1).all()
    assert boxes_of_tokens([], TOKENIZER).shape == (0, 4)


@pytest.mark.parametrize("row_sep", ["\n", ""])
def test_rows_are_those_that_are_written_behind_a_token(row_sep: str):
    masks = np.zeros((2, 4, 4), bool)
    masks[0], masks[1, :2] = True, np.eye(4, dtype=bool)[:2]
    codec = get_codec("canvas", grid=2, bins=4, row_sep=row_sep)
    ids = codec.encode_ids(masks, ["a star", "a ring"], tokenizer=TOKENIZER)
    pieces = [TOKENIZER.decode([token]) for token in ids]
    rows = rows_of_tokens(ids, TOKENIZER, canvas=codec.grid).tolist()
    told = [(piece, row) for piece, row in zip(pieces, rows, strict=True) if row >= 0]
    breaks = [("\n", 1)] if row_sep else []
    assert told == [
        ("<seg>", 0),
        ("<fg2>", 1),
        *breaks,
        ("<seg>", 0),
        ("<fg1>", 0),
        ("<bg1>", 1),
        *breaks,
        ("<bg1>", 1),
    ]
    assert rows_of_tokens([], TOKENIZER, canvas=(2, 2)).shape == (0,)
