"""Encoding and decoding lose nothing at the size of the grid; codecs agree with plain loops over cells."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import mask_text
from textmask.strategies import LABELS, TRICKY, blobs, masks

from mvplm.structures.masks import decode_mask
from mvplm.textmask import CODECS, CodecError, get_codec
from mvplm.textmask.bricks import Bricks, decode_bricks, encode_bricks
from mvplm.textmask.grid import Axis, to_cells, to_pixels, window_pixels
from mvplm.textmask.isd import decode_isd, encode_isd
from mvplm.textmask.labels import canonical, escape, resolve, unescape
from mvplm.textmask.runs import tight_boxes

NAMES = st.lists(LABELS | TRICKY, min_size=4, max_size=4)
ISD = [name for name in CODECS if name.startswith("isd")]


@pytest.mark.parametrize("name", ISD)
@given(given_masks=masks(), names=NAMES)
def test_image_wise_codecs_lose_nothing(name, given_masks, names):
    height, width = given_masks.shape[1:]
    labels = names[: len(given_masks)]
    codec = get_codec(name, grid=(height, width))
    text = codec.encode(given_masks, labels)
    result = codec.decode(text, (height, width))
    distinct = list(dict.fromkeys(map(canonical, labels)))
    classes = np.full((height, width), -1)
    for label, mask in zip(labels, given_masks, strict=True):
        classes[mask] = distinct.index(canonical(label))
    order = [distinct[index] for index in dict.fromkeys(classes.ravel().tolist()) if index >= 0]
    assert result.status == "ok" and not result.repairs, text
    assert result.labels == order and result.empty_by_model == (not order)
    for label, mask in zip(result.labels, result.masks, strict=True):
        assert np.array_equal(mask, classes == distinct.index(label))


@pytest.mark.parametrize("name", ["bsd", "bsd_bricks"])
@given(given_masks=masks(side=70), names=NAMES)
def test_box_wise_codecs_lose_nothing(name, given_masks, names):
    given_masks = given_masks[given_masks.any((1, 2))]
    height, width = given_masks.shape[1:]
    labels = [canonical(label) for label in names[: len(given_masks)]]
    codec = get_codec(name, grid=(height, width))
    text = codec.encode(given_masks, labels)
    result = codec.decode(text, (height, width))
    assert result.status == ("ok" if len(labels) else "no_target") and not result.repairs
    boxes = tight_boxes(given_masks) if len(labels) else []
    order = sorted(range(len(labels)), key=lambda i: (labels.index(labels[i]), *boxes[i].tolist(), i))
    assert result.labels == [labels[i] for i in order]
    assert np.array_equal(result.masks, given_masks[order] if order else given_masks)
    if order:
        assert np.array_equal(result.boxes, boxes[order])


@pytest.mark.parametrize("options", [{}, {"bins": 24, "row_sep": "\n"}, {"bins": 2}])
@given(given_masks=masks(side=40))
def test_a_canvas_keeps_its_cells(options, given_masks):
    given_masks = given_masks[given_masks.any((1, 2))]
    codec = get_codec("canvas", grid=16, **options)
    text = codec.encode(given_masks, ["x"] * len(given_masks))
    result = codec.decode(text, given_masks.shape[1:])
    assert result.status == ("ok" if len(given_masks) else "no_target") and len(result) == len(given_masks)
    assert result.masks.any((1, 2)).all()
    for part in result.answer.instances:
        assert part.grid.shape == (16, 16) and part.grid.any() and max(part.box) <= codec.bins


@pytest.mark.parametrize("name", ["bsd_bricks", "canvas"])
def test_without_instances_nothing_is_painted(name):
    codec = get_codec(name)
    text = codec.encode(np.zeros((0, 8, 8), bool), [])
    assert text == "No object in the image matches the request."
    assert codec.decode(text, (8, 8)).empty_by_model


def test_codes_are_those_of_plain_loops():
    grids = blobs(20)
    boxes = tight_boxes(grids)
    encoded = encode_bricks(grids, boxes)
    for index, grid in enumerate(grids):
        box = mask_text.box_of(grid)
        codes = mask_text.bricks_of(grid, box)
        assert boxes[index].tolist() == box and encoded.of(index).tolist() == codes
        assert np.array_equal(mask_text.paint(codes, box, grid=np.zeros((64, 64), bool)), grid)
    assert np.array_equal(decode_bricks(encoded, boxes, shape=(64, 64)), grids)


@pytest.mark.parametrize("row_breaks", [True, False])
@given(masks(side=70))
def test_bricks_lose_nothing(row_breaks, grids):
    grids = grids[grids.any((1, 2))]
    boxes = tight_boxes(grids)
    encoded = encode_bricks(grids, boxes, row_breaks=row_breaks)
    back = decode_bricks(encoded, boxes, shape=grids.shape[1:], row_breaks=row_breaks)
    assert np.array_equal(back, grids)


@pytest.mark.parametrize("codes", [[], [0], [3, 126], [0, 126, 2], [3, 126, 4], [3, 126, 3, 126], [7], [2, 1, 126, 3]])
def test_strict_bricks_refuse_what_does_not_fit(codes):
    bricks = Bricks(np.array(codes, np.int32), np.array([0, len(codes)]))
    with pytest.raises(CodecError, match="do not fill a box of 2 rows of 4"):
        decode_bricks(bricks, np.array([[0, 0, 4, 2]]), shape=(8, 8))


def test_an_empty_grid_has_no_box():
    with pytest.raises(CodecError, match="grid 1 is empty"):
        tight_boxes(np.stack([np.ones((4, 4), bool), np.zeros((4, 4), bool)]))


@given(st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1, max_size=6))
def test_label_runs_are_those_of_plain_loops(rows):
    names = ["others", "a b", "c"]
    classes = np.array(rows)
    for mode in ("irle", "rrle"):
        body = mask_text.rows_of_labels(classes, names, rows=mode == "rrle")
        assert encode_isd(classes, names, mode=mode) == body
        cells = decode_isd(body, shape=classes.shape, mode=mode)
        assert np.array_equal(np.array(cells.names)[cells.classes], np.array(names)[classes]) and cells.canonical
    grid = np.zeros_like(classes)
    assert np.array_equal(mask_text.labels_of_rows(body, names, grid=grid), classes)


@pytest.mark.parametrize(
    ("mode", "body", "width", "complaint"),
    [
        ("rrle", "a *2\n a *1\n", 1, "do not fill a grid of 3x1"),
        ("rrle", "a *1\n b *2\n a *1\n", 2, "do not fill a grid of 3x2"),
        ("rrle", "a *1| b *1\n", 2, "do not fill a grid of 3x2"),
        ("rrle", "a *2| b *2\n a *2\n", 2, "do not fill a grid of 3x2"),
        ("rrle", "a *1\n a *1\n a *1", 1, "not a body of separators"),
        ("rrle", "a *1\n a *1\n a *1\n ", 1, "not a body of separators"),
        ("rrle", "a *1\n a *1\n | *1\n", 1, "not a label"),
        ("rrle", "a *1\n a *1\n  *1\n", 1, "not a label"),
        ("irle", "a *1\n b *2", 1, "not a body of separators"),
        ("irle", "a *1| b *02", 1, "not a body of separators"),
        ("irle", "a *1| b *2\n", 1, "not a body of separators"),
        ("full", "a| b", 1, "2 cells, expected 3x1"),
        ("full", "a| | b", 1, "not a label"),
    ],
)
def test_strict_rows_refuse_what_the_encoder_does_not_write(mode, body, width, complaint):
    with pytest.raises(CodecError, match=complaint):
        decode_isd(body, shape=(3, width), mode=mode)


@given(masks(most=3), st.integers(1, 9), st.integers(1, 9))
def test_cells_are_those_of_exact_fractions(given_masks, height, width):
    cells = to_cells(given_masks, (height, width))
    for mask, grid in zip(given_masks, cells, strict=True):
        assert grid.tolist() == mask_text.area_cells(mask.tolist(), height, width)


@given(masks(most=2, side=6), st.integers(1, 15), st.integers(1, 15))
def test_pixels_are_those_of_exact_fractions(grids, height, width):
    back = to_pixels(grids, (height, width), up="bilinear")
    for grid, mask in zip(grids, back, strict=True):
        assert mask.tolist() == mask_text.pixels(grid.tolist(), (height, width))


@given(masks(most=1, side=5), st.lists(st.integers(0, 1000), min_size=4, max_size=4, unique=True))
def test_pixels_of_a_canvas_are_those_of_exact_fractions(grids, numbers):
    (x1, x2), (y1, y2) = sorted(numbers[:2]), sorted(numbers[2:])
    height, width = 9, 13
    for grid in grids:
        rows = Axis(height, grid.shape[0], y1 * height, (y2 - y1) * height, 1000)
        columns = Axis(width, grid.shape[1], x1 * width, (x2 - x1) * width, 1000)
        box = [Fraction(value * side, 1000) for value, side in zip((x1, y1, x2, y2), (width, height) * 2, strict=True)]
        expected = mask_text.pixels(grid.tolist(), (height, width), box)
        assert window_pixels(grid, rows, columns=columns).tolist() == expected


@given(LABELS | TRICKY)
def test_escaped_labels_come_back_and_hold_no_separator(label):
    name = canonical(label)
    written = escape(name)
    assert unescape(written) == name and not set(written) & set("|*<>\n") and written.casefold() != "others"


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("dog", "dog"),
        ("DOG", "dog"),
        ("traffic-light", "traffic light"),
        ("persn", "person"),
        ("zebra", None),
        ("cot", None),
    ],
)
def test_near_labels(label, meant):
    assert resolve(label, ["dog", "traffic light", "person", "cat", "cut"]) == meant


def test_objects_never_vanish():
    tiny = np.zeros((1, 480, 640), bool)
    tiny[0, 100, 200] = True
    for name in CODECS:
        codec = get_codec(name)
        result = codec.decode(codec.encode(tiny, ["dot"]), (480, 640))
        assert result.status == "ok" and len(result) == 1 and result.masks[0].any(), name
        assert decode_mask(result.to_rle()[0], (480, 640)).any()


def test_a_single_class_and_several_classes_agree_with_one_another():
    left = blobs(1, 40)[0]
    codec = get_codec("isd_rrle", grid=16)
    alone = codec.decode(codec.encode(left[None], ["a"]), (40, 40)).masks[0]
    both = codec.decode(codec.encode(np.stack([left, np.zeros_like(left)]), ["a", "b"]), (40, 40))
    assert both.labels == ["a"] and np.array_equal(both.masks[0], alone)


def test_a_later_label_wins_and_is_counted():
    masks_ = np.zeros((2, 4, 4), bool)
    masks_[0, :3], masks_[1, 2:] = True, True
    found = get_codec("isd_rrle", grid=4).label_grid(masks_, ["a", "b"])
    assert found.overlaps == 4 and found.classes.tolist() == [[0] * 4] * 2 + [[1] * 4] * 2


def test_the_last_mask_wins_although_its_label_came_first():
    found = get_codec("isd_rrle", grid=2).label_grid(np.ones((3, 2, 2), bool), ["a", "b", "a"])
    assert found.overlaps == 4 and found.labels == ["a", "b"] and not found.classes.any()


def test_regions_are_numbered_in_the_order_of_their_boxes():
    masks_ = np.zeros((2, 64, 64), bool)
    masks_[0, 30:40, 30:40], masks_[1, :5, :5] = True, True
    codec = get_codec("bsd_bricks", roi=True)
    result = codec.decode(codec.encode(masks_), (64, 64))
    assert result.labels == ["roi0", "roi1"] and np.array_equal(result.masks, masks_[::-1])


def test_the_question_decides_the_order():
    masks_ = np.zeros((2, 64, 64), bool)
    masks_[0, :5, :5], masks_[1, 30:40, 30:40] = True, True
    codec = get_codec("bsd_bricks")
    text = codec.encode(masks_, ["a", "b"], question=["b", "a"], preamble="Two things.")
    result = codec.decode(text, (64, 64))
    assert result.labels == ["b", "a"] and result.status == "ok" and result.answer.preamble == "Two things."
    with pytest.raises(ValueError, match="label 'a' is not in the question"):
        codec.encode(masks_, ["a", "b"], question=["b"])


def test_boxes_alone():
    codec = get_codec("bsd_bricks")
    text = codec.encode(np.ones((1, 8, 8), bool), ["all"], box_only=True)
    assert text == "<ref>all</ref><box>[[0 0 64 64]]</box>"


def test_a_grid_without_its_last_cells():
    codec = get_codec("bsd_bricks", clip63=True)
    assert "[[0 0 63 63]]" in codec.encode(np.ones((1, 64, 64), bool), ["x"])
    corner = np.zeros((1, 64, 64), bool)
    corner[0, 63, 63] = True
    with pytest.raises(ValueError, match="mask 0 lies in the dropped last row and column"):
        codec.encode(corner, ["x"])


def test_the_spelling_of_released_checkpoints():
    codec = get_codec("isd_rrle", grid=4, compat=True, lead_in="Sure.")
    text = codec.encode(np.ones((1, 8, 8), bool), ["a|b *2 <x>"])
    assert text.startswith("Sure.\n<seg>a/b x2 x *4\n ") and codec.down == "nearest"
    result = codec.decode(text, (8, 8))
    assert result.status == "ok" and result.labels == ["a/b x2 x"] and result.answer.preamble == "Sure."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "bsd_brick"}, "unknown codec 'bsd_brick'.*bsd_bricks"),
        ({"name": "bsd", "dwon": "nearest"}, "unknown option of bsd 'dwon'.*down"),
        ({"name": "bsd", "down": "max"}, "unknown way down 'max'"),
        ({"name": "bsd", "grid": 0}, "grid must be a number of cells"),
        ({"name": "bsd", "row_sep": ";"}, "row_sep must be"),
        ({"name": "canvas", "clip63": True}, "clip63"),
        ({"name": "canvas", "bins": 1}, "bins are 2 to 1000 steps of a canvas's box, got 1"),
        ({"name": "bsd_bricks", "bins": 24}, "bins are .* got 24 with 'bsd_bricks'"),
    ],
)
def test_wrong_options_are_answered_with_the_right_ones(arguments, message):
    with pytest.raises(ValueError, match=message):
        get_codec(**arguments)


@pytest.mark.parametrize(
    ("masks_", "labels", "message"),
    [
        (np.zeros((4, 4), bool), ["a"], "must have shape"),
        (np.ones((2, 4, 4), bool), ["a"], "2 masks need as many labels"),
        (np.zeros((1, 4, 4), bool), ["a"], "mask 0 is empty"),
        (np.ones((1, 4, 4), bool), [" "], "must not be empty"),
        (np.ones((1, 4, 4), bool), None, "labels are missing"),
    ],
)
def test_masks_that_cannot_be_written(masks_, labels, message):
    with pytest.raises(ValueError, match=message):
        get_codec("bsd_bricks").encode(masks_, labels)
