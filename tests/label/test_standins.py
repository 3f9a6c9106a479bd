"""Captioners that need no download."""

import numpy as np
import pytest
from PIL import Image

from mvplm.data.captions import refine_captions
from mvplm.data.scenes import SceneDataset
from mvplm.label import standins

RED, BLUE, GRAY = (212, 36, 40), (36, 76, 214), (120, 120, 120)


def picture(*, left: tuple[int, int, int] = RED, right: tuple[int, int, int] = BLUE) -> Image.Image:
    """A large square and a smaller one beside it, on gray."""
    pixels = np.full((96, 96, 3), GRAY, np.uint8)
    pixels[20:60, 5:45] = left
    pixels[30:55, 60:85] = right
    return Image.fromarray(pixels)


def test_patches_are_found_largest_first():
    first, second = standins.find_patches(picture())
    assert (first.colour, second.colour) == ("red", "blue")
    assert first.share == pytest.approx(1600 / 96**2) and second.share == pytest.approx(625 / 96**2)
    assert (first.x, first.y) == pytest.approx((24.5 / 96, 39.5 / 96))


def test_colours_and_places_say_what_is_there():
    same = picture(right=RED)
    assert standins.colours([picture(), same]) == [
        "A picture of a red thing and a blue thing. The largest is red.",
        "A picture of two red things. The largest is red.",
    ]
    mirrored = Image.fromarray(np.asarray(picture())[:, ::-1].copy())
    assert standins.places([picture(), mirrored]) == [
        "The red thing is left of the blue thing.",
        "The red thing is right of the blue thing.",
    ]


def test_a_picture_without_colours_gets_a_text_too():
    gray = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    assert standins.colours([gray]) == standins.places([gray]) == ["A picture without any clear colour in it."]


def test_refinement_has_something_to_drop_and_something_to_keep():
    images = [Image.fromarray(record.image) for record in SceneDataset("train", num=24, seed=5, role="caption")[:]]
    bad = [refine_captions([text])[0] for text in standins.unsure(images)]
    assert {"hedging", "length", "entropy"} <= {one.rule for one in bad}
    good = [refine_captions([text])[0] for text in standins.colours(images)]
    assert all(one.kept for one in good)


def test_the_shipped_model_describes_drawn_scenes():
    images = [Image.fromarray(record.image) for record in SceneDataset("train", num=2, seed=5, role="caption")[:]]
    captioner = standins.ShippedModel()
    together = captioner(images)
    assert together == [captioner([image])[0] for image in images]
    assert all(len(text.split()) >= 6 and text.endswith(".") for text in together)
