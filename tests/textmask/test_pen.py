"""Where the pen stands behind every token of an answer."""

import numpy as np
import pytest
from oracles.small_vlms import text_mask_parts

from mvplm.textmask import get_codec
from mvplm.textmask.pen import pen_places

TOKENIZER = text_mask_parts("qwen3_vl").processor.tokenizer


def test_a_mask_is_painted_from_its_corner_row_by_row():
    grid = np.zeros((1, 16, 16), bool)
    grid[0, 3, 11:14] = grid[0, 4, 10:12] = True
    codec = get_codec("bsd_bricks", grid=16)
    ids = codec.encode_ids(grid, ["a star"], tokenizer=TOKENIZER)
    spelled = [TOKENIZER.decode([token]) for token in ids]
    found = [(text, tuple(pen)) for text, pen in zip(spelled, pen_places(ids, TOKENIZER).tolist(), strict=True)]
    start = spelled.index("<seg>")
    assert all(pen == (-1, -1) for _, pen in found[:start])
    assert found[start:] == [
        ("<seg>", (10, 3)),
        ("<bg1>", (11, 3)),
        ("<fg3>", (14, 3)),
        ("\n", (10, 4)),
        ("<fg2>", (12, 4)),
        ("<bg2>", (14, 4)),
        ("</seg>", (-1, -1)),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_painting_along_the_pen_gives_the_masks(seed: int):
    rng = np.random.default_rng(seed)
    grids = rng.random((3, 24, 24)) < 0.4
    codec = get_codec("bsd_bricks", grid=24)
    ids = codec.encode_ids(grids, ["a", "b", "c"], question=["a", "b", "c"], tokenizer=TOKENIZER)
    places = pen_places(ids, TOKENIZER)
    painted = np.zeros((3, 24, 24), bool)
    block = -1
    for token, before, after in zip(ids[1:], places[:-1].tolist(), places[1:].tolist(), strict=True):
        text = TOKENIZER.decode([token])
        block += text == "<seg>"
        if text.startswith("<fg"):
            assert before[1] == after[1]
            painted[block, before[1], before[0] : after[0]] = True
    np.testing.assert_array_equal(painted, grids)


def test_text_and_masks_without_a_box_have_no_pen():
    ids = TOKENIZER.encode("no box <seg><fg3>\n<fg3></seg> 12", add_special_tokens=False)
    assert (pen_places(ids, TOKENIZER) == -1).all()
    assert pen_places([], TOKENIZER).shape == (0, 2)
