"""The exact strings, boxes and grids of the formats."""

import numpy as np
import pytest

from mvplm.textmask import get_codec
from mvplm.textmask.grid import Axis, coverage, interpolate, to_cells, to_pixels
from mvplm.textmask.isd import encode_isd
from mvplm.textmask.labels import canonical, escape, unescape


def rows(text: str) -> np.ndarray:
    return np.array([[cell == "1" for cell in row] for row in text.split()])


T1 = rows("000000 001100 011110 001000")
ISD = {
    "isd_full": "| ".join(["others", "cat"][int(cell)] for cell in "000000001100011110001000"),
    "isd_irle": "others *8| cat *2| others *3| cat *4| others *3| cat *1| others *3",
    "isd_rrle": (
        "others *6\n others *2| cat *2| others *2\n others *1| cat *4| others *1\n others *2| cat *1| others *3\n"
    ),
}
HEAD = "<ref>cat</ref><box>[[1 1 5 4]]</box><seg>"
BSD = HEAD + "<bg1><fg2><bg1>\n<fg4>\n<bg1><fg1><bg2></seg>"


@pytest.mark.parametrize("name", ISD)
def test_image_wise(name):
    codec = get_codec(name, grid=(4, 6))
    text = codec.encode(T1[None], ["cat"])
    assert text == f"<seg>{ISD[name]}</seg>"
    result = codec.decode(text, (4, 6))
    assert result.status == "ok" and result.labels == ["cat"] and np.array_equal(result.masks[0], T1)
    assert result.boxes.tolist() == [[1, 1, 5, 4]]


def test_four_labels():
    names = ["others", "sky", "tree", "dog"]
    classes = np.array([[1, 1, 1, 1], [1, 2, 2, 0], [3, 3, 2, 0], [0, 0, 0, 0]])
    text = "sky *4\n sky *1| tree *2| others *1\n dog *2| tree *1| others *1\n others *4\n"
    assert encode_isd(classes, names, mode="rrle") == text
    result = get_codec("isd_rrle", grid=4).decode(f"<seg>{text}</seg>", (4, 4))
    assert result.labels == ["sky", "tree", "dog"] and result.status == "ok"
    for label, mask in zip(result.labels, result.masks, strict=True):
        assert np.array_equal(mask, classes == names.index(label))


@pytest.mark.parametrize(("name", "text"), [("bsd_bricks", BSD), ("bsd", HEAD + "bg1fg2bg1\nfg4\nbg1fg1bg2</seg>")])
def test_box_wise(name, text):
    codec = get_codec(name, grid=(4, 6))
    assert codec.encode(T1[None], ["cat"]) == text
    result = codec.decode(text, (4, 6))
    assert (result.status, result.labels, result.repairs) == ("ok", ["cat"], {})
    assert np.array_equal(result.masks[0], T1) and result.boxes.tolist() == [[1, 1, 5, 4]]


def test_a_full_frame():
    codec = get_codec("bsd_bricks")
    text = codec.encode(np.ones((1, 64, 64), bool), ["sky"])
    assert text == "<ref>sky</ref><box>[[0 0 64 64]]</box><seg>" + "\n".join(["<fg63><fg1>"] * 64) + "</seg>"
    result = codec.decode(text, (64, 64))
    assert result.status == "ok" and result.masks.all()


@pytest.fixture
def cut_corner() -> np.ndarray:
    mask = np.zeros((50, 100), bool)
    mask[10:30, 20:60] = True
    mask[10:20, 20:40] = False
    return mask


def test_canvas(cut_corner):
    codec = get_codec("canvas", grid=4)
    text = codec.encode(cut_corner[None], ["x"])
    assert text == "<ref>x</ref><box>[[200 200 600 600]]</box><seg><bg2><fg2><bg2><fg2><fg4><fg4></seg>"
    result = codec.decode(text, (50, 100))
    assert result.status == "ok" and result.masks[0].sum() == 604
    assert (result.masks[0] & cut_corner).sum() == 600


def test_the_box_of_a_canvas_is_rounded_outwards():
    mask = np.zeros((1, 7, 9), bool)
    mask[0, 2:5, 3:8] = True
    assert "[[333 285 889 715]]" in get_codec("canvas", grid=16).encode(mask, ["x"])


def test_area_and_nearest():
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 1:6, 2:7] = True
    assert np.array_equal(to_cells(mask, (4, 4), down="nearest")[0], rows("0110 0110 0110 0000"))
    assert np.array_equal(to_cells(mask, (4, 4))[0], rows("0110 0111 0111 0000"))
    axis = Axis.whole(8, 4)
    share = coverage(mask, axis, columns=axis)[0] / (axis.extent * axis.extent)
    assert share.tolist() == [[0, 0.5, 0.5, 0.25], [0, 1, 1, 0.5], [0, 1, 1, 0.5], [0, 0, 0, 0]]


def test_interpolation():
    grid = rows("10 11")
    axis = Axis.whole(4, 2)
    values = interpolate(grid, axis, columns=axis) / (4 * axis.extent * axis.extent)
    assert values[1].tolist() == [1, 0.8125, 0.4375, 0.25]
    assert np.array_equal(to_pixels(grid[None], (4, 4), up="bilinear")[0], rows("1100 1100 1111 1111"))
    assert np.array_equal(to_pixels(grid[None], (3, 3), up="bilinear")[0], rows("110 111 111"))


@pytest.mark.parametrize(("size", "bilinear", "nearest"), [((8, 12), 28, 28), ((16, 24), 110, 112)])
def test_pixels_of_the_small_mask(size, bilinear, nearest):
    assert to_pixels(T1[None], size, up="bilinear").sum() == bilinear
    assert to_pixels(T1[None], size, up="nearest").sum() == nearest


def test_an_ellipse():
    y, x = np.mgrid[:48, :64]
    mask = ((y - 20) / 12) ** 2 + ((x - 30) / 18) ** 2 <= 1
    grid = to_cells(mask[None], (16, 16))
    assert mask.sum() == 669 and grid.sum() == 58
    for up, expected in (("bilinear", 0.930496), ("nearest", 0.909091)):
        back = to_pixels(grid, (48, 64), up=up)[0]
        assert (back & mask).sum() / (back | mask).sum() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "status", "repairs", "expected"),
    [
        (HEAD + "<bg1><fg2><bg1>\n<fg4></seg>", "repaired", {"rows_missing": 1}, "0110 1111 0000"),
        (HEAD + "<bg1><fg2><bg1>\n<fg4>", "truncated", {"rows_missing": 1}, "0110 1111 0000"),
        (HEAD + "<bg1><fg2><bg1>\n<fg9>\n<bg1><fg1><bg2></seg>", "repaired", {"row_long": 1}, "0110 1111 0100"),
        (HEAD + "<bg1><fg2>\n<fg4>\n<bg1><fg1><bg2></seg>", "repaired", {"row_short": 1}, "0110 1111 0100"),
        (HEAD + "<bg1><fg2><bg1><fg4>\n<bg1><fg1><bg2></seg>", "repaired", {"sep_missing": 1}, "0110 1111 0100"),
        (BSD.replace("[[1 1 5 4]]", "[5,4,1,1]"), "repaired", {"box_swap": 2}, "0110 1111 0100"),
        (BSD.replace("<fg2>", "<fg1><fg1>"), "repaired", {"format": 1}, "0110 1111 0100"),
    ],
)
def test_damaged_boxes(text, status, repairs, expected):
    result = get_codec("bsd_bricks", grid=(4, 6)).decode(text, (4, 6))
    assert (result.status, result.repairs) == (status, repairs)
    assert np.array_equal(result.answer.instances[0].grid, rows(expected))
    assert np.array_equal(result.masks[0, 1:4, 1:5], rows(expected))


def test_blocks_without_a_mask():
    codec = get_codec("bsd_bricks", grid=(4, 6))
    result = codec.decode(BSD.replace("[[1 1 5 4]]", "[[1 1]]"), (4, 6))
    assert result.status == "invalid" and result.answer.instances[0].status == "invalid_box" and not len(result)
    result = codec.decode("<ref>cat</ref><box>[[1 1 5 4]]</box>", (8, 12))
    assert result.status == "invalid" and result.answer.instances[0].status == "box_only" and not len(result)
    assert result.box_only_boxes.tolist() == [[2, 2, 10, 8]] and result.box_only_labels == ["cat"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("No object in the image matches the request.", "no_target"),
        ("I cannot see it.", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_answers_without_blocks(text, status):
    result = get_codec("bsd_bricks", grid=(4, 6)).decode(text, (4, 6))
    assert result.status == status and result.masks.shape == (0, 4, 6) and not result.repairs


DOGS = "others *4\n others *1| dog *2| others *1\n dog *4\n others *3| dog *1\n"
DOG_ROWS = "0000 0110 1111 0001"


@pytest.mark.parametrize(
    ("body", "status", "repairs"),
    [
        (DOGS, "ok", {}),
        (DOGS.replace("| dog *2", "|dog *2"), "repaired", {"format": 1}),
        (DOGS.replace("\n dog", "\ndog"), "repaired", {"format": 1}),
        (DOGS.replace("dog *2| others *1", "dog *2"), "repaired", {"row_short": 1}),
        (DOGS.replace("dog *2| others *1", "dog *2| others *3"), "repaired", {"row_long": 1}),
        (DOGS.replace("dog *4", "dog *99999999"), "repaired", {"row_long": 1}),
    ],
)
def test_damaged_rows(body, status, repairs):
    result = get_codec("isd_rrle", grid=4).decode(f"<seg>{body}</seg>", (4, 4))
    assert (result.status, result.repairs) == (status, repairs)
    assert np.array_equal(result.masks[0], rows(DOG_ROWS)) and result.labels == ["dog"]


def test_the_label_decides_the_colour():
    result = get_codec("isd_rrle", grid=4).decode("<seg>" + "dog *4\n " * 3 + "dog *4\n</seg>", (4, 4))
    assert result.status == "ok" and result.masks.all()


def test_cut_and_empty_descriptors():
    codec = get_codec("isd_rrle", grid=4)
    cut = codec.decode("<seg>" + DOGS[: DOGS.index("\n others *3")], (4, 4))
    assert (cut.status, cut.repairs) == ("truncated", {"rows_missing": 1})
    assert np.array_equal(cut.masks[0], rows("0000 0110 1111 0000"))
    assert codec.decode("<seg></seg>", (4, 4)).status == "unparsed"
    assert codec.decode("", (4, 4)).status == "unparsed"


@pytest.mark.parametrize(
    ("label", "written"),
    [
        ("man | woman", "man %7C woman"),
        ("5 *4 grid", "5 %2A4 grid"),
        ("100%", "100%"),
        ("%7C", "%257C"),
        ("<seg>", "%3Cseg%3E"),
        ("others", "%6Fthers"),
        ("a\nb", "a b"),
    ],
)
def test_labels(label, written):
    assert escape(canonical(label)) == written and unescape(written) == canonical(label)
