"""Golden numbers of the pipeline: merging fragments, suppression, duplicates, texts and regrounding."""

from dataclasses import replace

import numpy as np
import pytest

from mvplm.data.ors.config import OrsConfig
from mvplm.data.ors.description_steps import regrounded
from mvplm.data.ors.fragments import merge_fragments
from mvplm.data.ors.instances import Grounded, duplicates, suppress
from mvplm.data.ors.texts import CATEGORY_PROMPT, DESCRIPTION_PROMPT, plain_text, reasons_against
from mvplm.data.ors.words import known_nouns
from mvplm.evaluation.box_accuracy import box_iou
from mvplm.prompts.box_masks import safe_text
from mvplm.structures.masks import encode_mask

CONFIG = OrsConfig()


def area(*rows_columns: int, size: tuple[int, int] = (100, 100)) -> np.ndarray:
    """A mask of rows [a, b) and columns [c, d)."""
    a, b, c, d = rows_columns
    mask = np.zeros(size, bool)
    mask[a:b, c:d] = True
    return mask


@pytest.fixture
def toy() -> tuple[np.ndarray, list]:
    """A square of 1600 pixels; its left half, a square that overlaps its corner by a quarter, and a speck."""
    pieces = [area(30, 70, 30, 50), area(60, 80, 60, 80), area(40, 43, 40, 43)]
    return area(30, 70, 30, 70), [encode_mask(piece) for piece in pieces]


def test_the_toy_is_restored_exactly(toy):
    coarse, fragments = toy
    merged = merge_fragments(coarse, fragments, config=CONFIG)
    assert (merged.mask == coarse).all() and not merged.fallback and merged.selected == 1


def test_without_what_no_fragment_covers_the_toy_falls_back(toy):
    coarse, fragments = toy
    merged = merge_fragments(coarse, fragments, config=replace(CONFIG, add_back=False))
    assert merged.fallback and (merged.mask == coarse).all()
    kept = merge_fragments(coarse, fragments, config=replace(CONFIG, add_back=False, fallback_ratio=0.5))
    assert not kept.fallback and kept.mask.sum() == 800


def test_without_fragments_the_coarse_mask_is_smoothed():
    coarse = area(30, 70, 30, 70)
    coarse[10, 10] = True
    merged = merge_fragments(coarse, [], config=CONFIG)
    assert (merged.mask == area(30, 70, 30, 70)).all() and merged.selected == 0


def test_fragments_may_reach_beyond_the_coarse_mask():
    merged = merge_fragments(area(30, 70, 30, 70), [encode_mask(area(30, 70, 30, 78))], config=CONFIG)
    assert merged.selected == 1 and (merged.mask == area(30, 70, 30, 78)).all()
    just_below = merge_fragments(area(30, 70, 30, 70), [encode_mask(area(30, 70, 30, 81))], config=CONFIG)
    assert just_below.selected == 0, "40 of 51 columns are inside: IoF 0.784"
    exactly = merge_fragments(area(30, 70, 30, 70), [encode_mask(area(30, 70, 30, 80))], config=CONFIG)
    assert exactly.selected == 1, "IoF 0.8 is enough"


def test_small_holes_are_filled_and_large_ones_stay():
    coarse = area(10, 90, 10, 90)
    coarse[20:27, 20:27] = False
    coarse[40:60, 40:60] = False
    merged = merge_fragments(coarse, [encode_mask(coarse)], config=replace(CONFIG, add_back=False))
    expected = area(10, 90, 10, 90) & ~area(40, 60, 40, 60)
    assert (merged.mask == expected).all()


def test_an_object_at_the_border_keeps_its_border():
    coarse = area(0, 40, 0, 100)
    assert (merge_fragments(coarse, [], config=CONFIG).mask == coarse).all()


def test_a_thin_line_and_a_tiny_part_go():
    coarse = area(20, 80, 20, 60) | area(50, 51, 60, 95) | area(5, 9, 5, 9)
    merged = merge_fragments(coarse, [], config=CONFIG)
    assert (merged.mask == area(20, 80, 20, 60)).all()


def test_a_gap_that_the_closing_spans_is_closed_and_a_wider_one_is_not():
    gap = area(30, 70, 30, 70) & ~area(30, 70, 49, 51)
    assert (merge_fragments(gap, [], config=CONFIG).mask == area(30, 70, 30, 70)).all()
    wide = area(30, 70, 30, 70) & ~area(30, 70, 48, 52)
    assert (merge_fragments(wide, [], config=CONFIG).mask == wide).all()


def oracle_components(mask: np.ndarray) -> list[set]:
    """Parts of a mask in eight directions, by a plain search."""
    left, parts = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        part, waiting = set(), [left.pop()]
        while waiting:
            y, x = waiting.pop()
            part.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            waiting += near
        parts.append(part)
    return parts


def oracle_square(mask: np.ndarray, radius: int, *, grow: bool) -> np.ndarray:
    """Dilation or erosion by a square on an image that goes on outside as at its border."""
    padded = np.pad(mask, radius, mode="edge")
    height, width = mask.shape
    windows = [
        padded[dy : dy + height, dx : dx + width] for dy in range(2 * radius + 1) for dx in range(2 * radius + 1)
    ]
    return np.logical_or.reduce(windows) if grow else np.logical_and.reduce(windows)


def oracle_merge(coarse: np.ndarray, fragments: list[np.ndarray], config: OrsConfig) -> np.ndarray:
    """The rules of the merge one after the other, on the whole image."""
    least = max(config.fragment_pixels, config.fragment_area_ratio * coarse.size)
    chosen = [f for f in fragments if f.sum() >= least and (f & coarse).sum() / f.sum() >= config.fragment_iof]
    u = np.logical_or.reduce(chosen) if chosen else coarse.copy()
    near = oracle_square(np.pad(u, 1), 1, grow=True)[1:-1, 1:-1]
    for part in oracle_components(coarse & ~u):
        if len(part) >= config.add_back_ratio * coarse.sum() or any(near[at] for at in part):
            for at in part:
                u[at] = True
    from scipy.ndimage import label

    holes, count = label(~u)
    border = set(holes[[0, -1]].ravel()) | set(holes[:, [0, -1]].ravel())
    total = u.sum()
    for number in set(range(1, count + 1)) - border:
        if (holes == number).sum() <= config.hole_ratio * total:
            u |= holes == number
    rho = max(1, round(config.close_ratio * coarse.size**0.5))
    wide = np.pad(u, 4 * rho + 8, mode="edge")
    for radius, grow in ((rho, True), (rho, False), (1, False), (1, True)):
        wide = oracle_square(wide, radius, grow=grow)
    u = wide[4 * rho + 8 : -4 * rho - 8, 4 * rho + 8 : -4 * rho - 8]
    parts = oracle_components(u)
    largest = max(map(len, parts), default=0)
    u = np.zeros_like(u)
    for part in parts:
        if len(part) >= config.component_ratio * largest:
            for at in part:
                u[at] = True
    return coarse if u.sum() < config.fallback_ratio * coarse.sum() else u


@pytest.mark.parametrize("seed", range(12))
def test_the_merge_is_that_of_a_plain_one(seed: int):
    rng = np.random.default_rng(seed)

    def blob() -> np.ndarray:
        y, x, h, w = (int(value) for value in rng.integers((-5, -5, 3, 3), (40, 50, 30, 30)))
        mask = area(max(y, 0), y + h, max(x, 0), x + w, size=(48, 60))
        return mask & (rng.random((48, 60)) > 0.03)

    coarse = blob() | blob() | area(20, 28, 20, 30, size=(48, 60))
    fragments = [blob() for _ in range(4)] + [coarse & blob() for _ in range(3)]
    config = replace(CONFIG, close_ratio=0.04 * (seed % 2), fragment_pixels=6)
    found = merge_fragments(coarse, [encode_mask(fragment) for fragment in fragments], config=config)
    assert (found.mask == oracle_merge(coarse, fragments, config)).all()


A, B = (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 10.0, 8.0)
FAR = (50.0, 50.0, 60.0, 60.0)


@pytest.mark.parametrize(
    ("boxes", "gone"),
    [
        ([("dog", A, 0.9), ("dog", B, 0.8)], {1: "same_label"}),
        ([("dog", A, 0.8), ("dog", B, 0.9)], {0: "same_label"}),
        ([("dog", A, 0.8), ("dog", FAR, 0.9)], {}),
        ([("dog", A, 0.5), ("animal", B, 0.9)], {1: "more_general"}),
        ([("dog", A, 0.9), ("animal", B, 0.5)], {1: "more_general"}),
        ([("dog", A, 0.9), ("cat", A, 0.5)], {}),
        ([("puppy", A, 0.4), ("dog", A, 0.6), ("animal", A, 0.8)], {1: "more_general", 2: "more_general"}),
        ([("dog", A, 0.9), ("dog", (0.0, 0.0, 10.0, 7.0), 0.8)], {1: "same_label"}),
        ([("dog", A, 0.9), ("dog", (0.0, 0.0, 10.0, 6.9), 0.8)], {}),
        ([("dog", A, 0.9), ("dog", B, 0.9)], {0: "same_label"}),
    ],
)
def test_hierarchical_suppression(boxes, gone):
    found = suppress([Grounded(*one) for one in boxes], iou=CONFIG.nms_iou, is_above=known_nouns().is_above)
    assert {one.place: one.reason for one in found} == gone


@pytest.mark.parametrize(
    ("masks", "labels", "gone"),
    [
        ([area(0, 40, 0, 40), area(0, 40, 0, 36)], "aa", [1]),
        ([area(0, 40, 0, 36), area(0, 40, 0, 40)], "aa", [0]),
        ([area(0, 40, 0, 40), area(0, 40, 0, 36)], "ab", []),
        ([area(0, 40, 0, 40), area(0, 40, 50, 90)], "aa", []),
        ([area(0, 90, 0, 90), area(10, 20, 10, 20)], "aa", [1]),
        ([area(0, 40, 0, 40), area(30, 70, 0, 40)], "aa", []),
        ([area(0, 40, 0, 40), area(0, 40, 0, 40)], "aa", [1]),
    ],
)
def test_duplicates(masks, labels, gone):
    boxes = [(float(c.min()), float(r.min()), c.max() + 1.0, r.max() + 1.0) for r, c in map(np.nonzero, masks)]
    assert duplicates(list(labels), boxes, masks=masks, iou=0.7, inside=0.9) == gone


@pytest.mark.parametrize(("width", "kept"), [(8.0, True), (7.999, False), (10.0, True), (0.0, False)])
def test_a_box_found_again_needs_an_iou_of_exactly_0_8(width: float, kept: bool):
    assert regrounded(box_iou(A, (0.0, 0.0, width, 10.0)), CONFIG.reground_iou) is kept
    assert regrounded(0.8, 0.8) and not regrounded(0.7999, 0.8)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a red dog", None),
        ("a dog", "length"),
        (" ".join(["dog"] * 60), None),
        (" ".join(["dog"] * 61), "length"),
        ("the dog at [12, 40] there", "brackets"),
        ("the dog [left] of it", None),
        ("the dog under the Mask there", "given_away"),
        ("the highlighted dog there", "given_away"),
        ("the dog in the bounding box", "given_away"),
        ("a dog in masks of paper", "given_away"),
        ("a masked dog at night", None),
        ("the blue region of sky", "given_away"),
    ],
)
def test_descriptions(text: str, reason: str | None):
    assert reasons_against([text], config=CONFIG) == [reason]


def test_equal_descriptions_tell_nothing_apart():
    texts = ["A dog on grass.", "a dog on grass", "a dog on sand"]
    assert reasons_against(texts, config=CONFIG) == ["repeated", "repeated", None]


def test_clean_texts_and_instructions():
    assert safe_text(' cafe\u0301 "a"\n b\\c <x>  ') == "caf\u00e9 'a' b/c x"
    for prompt in (CATEGORY_PROMPT, DESCRIPTION_PROMPT):
        assert plain_text(prompt.format(text="a red dog")) == "a red dog"
    assert plain_text("the dog") == "the dog"


def test_settings_are_checked_and_hashed():
    assert CONFIG.hash == OrsConfig().hash != replace(CONFIG, reground_iou=0.9).hash
    with pytest.raises(ValueError, match="reground_iou must lie in .0, 1., got 1.2"):
        OrsConfig(reground_iou=1.2)
    with pytest.raises(ValueError, match="1 <= min_words <= max_words"):
        OrsConfig(min_words=9, max_words=3)
