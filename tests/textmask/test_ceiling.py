"""What codecs lose and cost, and the compression that the paper reports, on real masks."""

import numpy as np
import pytest

from mvplm.textmask import get_codec
from mvplm.textmask.ceiling import Ceiling, CeilingRow, cheapest
from mvplm.textmask.profiles import LengthCounter, load_tokenizer, profile_of

MASK = np.zeros((32, 32), bool)
MASK[8:24, 4:20] = True


@pytest.mark.parametrize(
    ("word", "name", "grid"),
    [
        ("isd16", "isd_rrle", 16),
        ("isd_full-24", "isd_full", 24),
        ("crop64", "bsd_bricks", 64),
        ("bsd_bricks", "bsd_bricks", 64),
        ("canvas", "canvas", 32),
    ],
)
def test_profiles_are_codecs_with_grids(word, name, grid):
    codec = profile_of(word).codec
    assert (codec.name, codec.grid) == (name, (grid, grid))


@pytest.mark.parametrize(
    ("word", "message"), [("crops64", "crop"), ("16", "a codec and cells a side"), ("isd0", "grid")]
)
def test_wrong_profiles_are_answered_with_the_right_ones(word, message):
    with pytest.raises(ValueError, match=message):
        profile_of(word)


def test_an_object_on_the_cells_is_kept_whole_and_a_thin_one_is_not():
    ceiling = Ceiling([profile_of("isd16"), profile_of("crop16")], max_length=40)
    ceiling.update(MASK[None], ["box"], dataset="a")
    thin = np.zeros_like(MASK)
    thin[:3, 3:5] = True
    ceiling.update(thin[None], ["thin"], dataset="a")
    rows = {(row.profile, row.size): row for row in ceiling.rows()}
    assert rows["isd16", ">= 5 %"].mean_iou == 1 and rows["isd16", ">= 5 %"].precise == 1
    assert 0 < rows["isd16", "< 1 %"].mean_iou < 1
    assert rows["crop16", "all"].count == 2 and ("crop16", "1-5 %") not in rows
    # Two cells of 2x2 pixels are half covered: 8 pixels, 4 of the 6.
    assert rows["crop16", "all"].ciou == pytest.approx((256 + 4) / (256 + 10))
    # Eight rows of one brick with breaks between them.
    assert rows["crop16", ">= 5 %"].mean_length == 15 and rows["crop16", "all"].too_long == 0


def test_objects_that_vanish_count_as_lost():
    ceiling = Ceiling([profile_of("crop4", down="nearest")])
    point = np.zeros((64, 64), bool)
    point[0, 0] = True
    ceiling.update(point[None], ["point"])
    (row, _) = ceiling.rows()
    assert (row.vanished, row.mean_iou, row.longest) == (1, 0, 0)


def test_nothing_set_is_an_error():
    with pytest.raises(ValueError, match="empty"):
        Ceiling([profile_of("isd16")]).update(np.zeros((1, 4, 4), bool), ["a"])


@pytest.mark.parametrize(
    ("name", "length"), [("isd_full", 24), ("isd_irle", 7), ("isd_rrle", 14), ("bsd", 9), ("bsd_bricks", 9)]
)
def test_lengths_without_a_tokenizer_are_runs_and_breaks(name, length):
    mask = np.array([[int(c) for c in row] for row in ("000000", "001100", "011110", "001000")], bool)
    codec = get_codec(name, grid=(4, 6))
    assert LengthCounter()(codec, mask[None], labels=["fg3 cat"]) == length


def test_the_cheapest_is_within_a_point_of_the_best():
    def row(name, iou, length):
        return CeilingRow("", name, "all", 1, iou, iou, 0.0, 0.0, length, length, int(length), None)

    rows = [row("a", 0.95, 90.0), row("b", 0.943, 50.0), row("c", 0.9, 10.0)]
    assert cheapest(rows).profile == "b" and cheapest([]) is None


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer in .*vocab\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="no tokenizer folder"):
        load_tokenizer(tmp_path / "gone")


def test_compression_on_real_masks(shared_data):
    """Bars: labelled rows 60 % shorter than all cells; bricks shorter than plain runs, those than labelled rows."""
    from mvplm.data.catalog import get_dataset
    from mvplm.data.labelled_masks import labelled_masks

    tokenizer = load_tokenizer(shared_data / "gpt2_bpe")
    profiles = [profile_of(name) for name in ("isd_full16", "isd16", "isd64", "bsd64", "crop64")]
    ceiling = Ceiling(profiles, LengthCounter(tokenizer))
    for record in get_dataset("coco_mini/val", root=shared_data, role="instance", num=5):
        for group in labelled_masks(record):
            ceiling.update(group.masks, group.labels)
    mean = {row.profile: row.mean_length for row in ceiling.rows() if row.size == "all"}
    assert mean["isd16"] <= 0.4 * mean["isd_full16"]
    assert mean["crop64"] < mean["bsd64"] < mean["isd64"]


def test_tags_and_bricks_are_single_tokens(gpt2_tokenizer):
    codec = get_codec("bsd_bricks")
    mask = np.zeros((64, 64), bool)
    mask[3:5, 7:70] = True
    ids = codec.encode_ids(mask[None], ["cat"], tokenizer=gpt2_tokenizer)
    text = gpt2_tokenizer.convert_ids_to_tokens(ids)
    assert [token for token in text if token.startswith("<")] == [
        *("<ref>", "</ref>", "<box>", "</box>", "<seg>", "<fg57>", "<fg57>", "</seg>")
    ]
