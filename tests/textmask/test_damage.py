"""Whatever stands in an answer: nothing raises, a mask is read, or a status says why there is none."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from textmask.strategies import blobs

from mvplm.textmask import CODECS, get_codec
from mvplm.textmask.result import BLOCK_STATUSES, STATUSES

PIECES = [
    "<ref>",
    "</ref>",
    "<box>",
    "</box>",
    "<seg>",
    "</seg>",
    "[[1 1 5 4]]",
    "<fg1>",
    "<fg63>",
    "<bg2>",
    "\n",
    "\n ",
]
PIECES += ["\n", "\n ", "others *2", "| ", "dog *3", "dog *99999999999", "*", "fg3", "bg1", "<", "%", "é", "\r\n", " "]
SIZE = (20, 30)


def check(result):
    """What every answer promises."""
    assert result.status in STATUSES and all(status in BLOCK_STATUSES for status in result.statuses)
    assert result.masks.shape == (len(result.labels), *SIZE) and result.masks.dtype == bool
    assert (result.status == "repaired") <= bool(result.repairs)
    assert (result.status == "ok") <= (not result.repairs)
    if result.status in ("no_target", "unparsed", "invalid"):
        assert not len(result)
    for mask, part in zip(result.masks, [p for p in result.answer.instances if p.grid is not None], strict=True):
        assert mask.any() == part.grid.any()
        if not mask.any():
            assert part.empty_by_model or part.status in ("repaired", "truncated")


@pytest.mark.parametrize("name", CODECS)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_any_order_of_pieces(name, pieces):
    check(get_codec(name, grid=6).decode("".join(pieces), SIZE))


@pytest.mark.parametrize("name", CODECS)
@given(st.text(max_size=60))
def test_any_text(name, text):
    check(get_codec(name, grid=6).decode(text, SIZE))


@pytest.mark.parametrize("name", CODECS)
def test_cuts_swaps_and_losses_of_good_answers(name):
    codec = get_codec(name, grid=16)
    rng = np.random.default_rng(0)
    text = codec.encode(blobs(2, 48), ["a cat", "dog"])
    for _ in range(150):
        kind, place, length = rng.integers(4), int(rng.integers(len(text))), int(rng.integers(1, 9))
        damaged = [
            text[:place],
            text[:place] + text[place + length :],
            text[:place] + "".join(rng.choice(list(text), length)) + text[place + length :],
            text[:place] + text[place : place + length] * 3 + text[place + length :],
        ][kind]
        result = codec.decode(damaged, SIZE)
        check(result)
        assert damaged == text or result.status != "ok" or _rewritten(codec, result, damaged)


def _rewritten(codec, result, text):
    """Whether an answer that is called exact is what the encoder writes for other masks."""
    if codec.name.startswith("isd"):
        grids = [part.grid for part in result.answer.instances]
        return codec.encode(np.array(grids).reshape(-1, 16, 16), result.labels) == text
    from mvplm.textmask.bricks import encode_bricks

    for part in result.answer.instances:
        height, width = part.grid.shape
        codes = encode_bricks(part.grid[None], np.array([[0, 0, width, height]]))
        assert part.status == "ok" and len(codes.codes)
        assert f"[[{' '.join(map(str, part.box))}]]" in text
    return True


def test_an_answer_that_claims_endless_rows_stays_small_and_quick():
    started = time.perf_counter()
    for text in ("<seg>" + "dog *999999999| " * 5000, "<ref>a</ref><box>[[0 0 64 64]]</box><seg>" + "<fg63>" * 5000):
        for name in CODECS:
            check(get_codec(name).decode(text, SIZE))
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize(
    ("body", "repairs"),
    [
        ("others *4\n\n dog *4\n others *4\n others *4\n", {"row_empty": 1}),
        ("dog| others *3\n dog *4\n others *4\n others *4\n", {"count_missing": 1}),
        ("dog *1 others *3\n dog *4\n others *4\n others *4\n", {"sep_missing": 1}),
        ("dog *1| | others *3\n dog *4\n others *4\n others *4\n", {"empty_run": 1}),
        ("dog *4\n dog *4\n others *4\n others *4\n others *4\n", {"rows_extra": 1}),
        ("dog *4 x\n dog *4\n others *4\n others *4\n", {"junk": 1}),
    ],
)
def test_repairs_of_rows(body, repairs):
    result = get_codec("isd_rrle", grid=4).decode(f"<seg>{body}</seg>", (4, 4))
    assert (result.status, result.repairs, result.labels) == ("repaired", repairs, ["dog"])


def test_a_descriptor_without_tags():
    codec = get_codec("isd_rrle", grid=2)
    result = codec.decode("dog *2\n others *2\n", (2, 2))
    assert (result.status, result.repairs) == ("repaired", {"tag_missing": 1}) and result.masks.sum() == 2
    assert codec.decode("dog *2\n", (2, 2)).status == "truncated"


def test_the_first_descriptor_counts_and_the_next_is_kept():
    codec = get_codec("isd_irle", grid=2)
    result = codec.decode("<seg>dog *4</seg><seg>cat *4</seg>", (2, 2))
    assert result.labels == ["dog"] and result.repairs == {"format": 1}
    assert [part.label for part in result.answer.extra_blocks[0].instances] == ["cat"]


def test_other_spellings_than_the_own_are_read():
    codec = get_codec("isd_rrle", grid=2)
    for body in ("dog *1| others *3", "dog| others| others| others"):
        result = codec.decode(f"<seg>{body}</seg>", (2, 2))
        assert (result.status, result.repairs) == ("repaired", {"format": 1}) and result.masks.sum() == 1


def test_labels_that_were_not_asked_for():
    codec = get_codec("isd_rrle", grid=2)
    text = "<seg>dgo *2\n zebra *2\n</seg>"
    plain = codec.decode("<seg>Dog *2\n zebra *2\n</seg>", (2, 2), labels=["dog", "cat"])
    assert plain.labels == ["dog"] and plain.repairs == {"label_unknown": 1} and plain.masks.sum() == 2
    kept = codec.decode(text, (2, 2), labels=["dog"], keep_unknown=True)
    assert kept.labels == ["dgo", "zebra"] and kept.repairs == {"label_mismatch": 2}


HEAD = "<ref>cat</ref><box>[[1 1 5 4]]</box><seg>"
ROWS = "<bg1><fg2><bg1>\n<fg4>\n<bg1><fg1><bg2>"


@pytest.mark.parametrize(
    ("text", "status", "repairs"),
    [
        (HEAD + ROWS.replace("\n", "") + "</seg>", "repaired", {"sep_missing": 1}),
        (HEAD + "oh " + ROWS + "</seg>", "repaired", {"junk": 1}),
        (HEAD + ROWS + "\n<fg4></seg>", "repaired", {"rows_extra": 1}),
        (HEAD.replace("4]]", "4 7]]") + ROWS + "</seg>", "repaired", {"box_extra": 1}),
        (HEAD.replace("5 4", "5 1") + "<fg4></seg>", "repaired", {"box_degenerate": 1}),
        (HEAD.replace("5 4", "50 4") + "<fg5>\n<fg5>\n<fg5></seg>", "repaired", {"box_clamp": 1}),
        (HEAD.replace("1 1 5 4", "1, 1, 5, 4") + ROWS + "</seg>", "repaired", {"format": 1}),
        (HEAD + ROWS + "</seg>\n", "repaired", {"format": 1}),
        (HEAD + "</seg>", "invalid", {}),
    ],
)
def test_repairs_of_blocks(text, status, repairs):
    result = get_codec("bsd_bricks", grid=(4, 6)).decode(text, (4, 6))
    assert (result.status, result.repairs) == (status, repairs)


def test_one_good_block_next_to_a_bad_one():
    codec = get_codec("bsd_bricks", grid=(4, 6))
    result = codec.decode(f"<ref>dog</ref><box>[[1]]</box><seg></seg>\n{HEAD}{ROWS}</seg>", (4, 6))
    assert result.status == "repaired" and result.labels == ["cat"] and result.answer.n_invalid == 1
    assert result.statuses == ["ok"]


def test_background_that_the_model_wrote():
    result = get_codec("bsd_bricks", grid=(4, 6)).decode(HEAD + "<bg4>\n<bg4>\n<bg4></seg>", (4, 6))
    assert result.status == "ok" and result.empty_by_model and not result.masks.any() and len(result) == 1


def test_breaks_in_a_canvas_that_needs_none():
    text = "<ref>a</ref><box>[[0 0 1000 1000]]</box><seg><fg2>\n<bg2></seg>"
    result = get_codec("canvas", grid=2).decode(text, (2, 2))
    assert (result.status, result.repairs) == ("repaired", {"sep_unexpected": 1}) and result.masks[0, 0].all()
