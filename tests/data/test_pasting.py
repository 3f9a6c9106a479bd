"""Objects that pictures of a batch lend each other."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvplm.data.cells import Forms, Ladder
from mvplm.data.pasting import PastingCollate
from mvplm.structures.cells import CellSample
from mvplm.textmask import get_codec

CODEC = get_codec("canvas", grid=4, bins=8)
FORMS = Forms(Ladder(CODEC), CODEC)
SIDE = 64


def sample(number: int, *objects: tuple[int, int, int, int]) -> CellSample:
    """Rectangles of colour 10 * ``number`` + place on a ground of colour ``number``, each named (number, place)."""
    masks, image = np.zeros((len(objects), SIDE, SIDE), bool), torch.full((3, SIDE, SIDE), number, dtype=torch.uint8)
    for place, (x1, y1, x2, y2) in enumerate(objects):
        masks[place, y1:y2, x1:x2] = True
        image[:, y1:y2, x1:x2] = 10 * number + place
    names = tuple((number, place) for place in range(len(objects)))
    return FORMS(image, torch.from_numpy(masks), names=names, image_id=number)


def collate(lenders: int, forms: Forms = FORMS) -> PastingCollate:
    return PastingCollate(list, forms=forms, lenders=lenders)


SAMPLES = [sample(1, (0, 0, 8, 8)), sample(2, (4, 4, 10, 20), (20, 0, 32, 8)), sample(3), sample(4, (8, 8, 16, 24))]


def test_every_picture_gets_the_objects_of_the_next_ones():
    made = collate(1)(SAMPLES)
    assert [one.image_id for one in made] == [1, 2, 3, 4]
    assert [one.names for one in made] == [
        ((1, 0), (2, 0), (2, 1)),
        ((2, 0), (2, 1)),
        ((4, 0),),
        ((4, 0), (1, 0)),
    ]
    assert collate(2)(SAMPLES)[1].names == ((2, 0), (2, 1), (4, 0))


def test_pasted_objects_look_as_they_did_and_hide_nothing():
    for one in collate(2)(SAMPLES):
        assert int(one.masks.sum(0).max()) <= 1
        for mask, (number, place) in zip(one.masks, one.names, strict=True):
            assert int(mask.sum()) == int(SAMPLES[number - 1].masks[place].sum())
            assert (one.image[:, mask] == 10 * number + place).all()
        assert (one.image[:, ~one.masks.any(0)] == one.image_id).all()


def test_they_tell_what_their_new_masks_tell():
    for one in collate(2)(SAMPLES):
        anew = FORMS(one.image, one.masks, names=one.names, image_id=one.image_id)
        assert all(torch.equal(getattr(one, told), getattr(anew, told)) for told in ("boxes", "steps", "sketches"))


def test_places_depend_on_the_pictures_alone():
    first, again = collate(2)(SAMPLES), collate(2)(SAMPLES)
    assert all(torch.equal(one.image, other.image) for one, other in zip(first, again, strict=True))
    assert torch.equal(SAMPLES[2].image, sample(3).image)


def test_without_sketches_none_are_told():
    forms = Forms(Ladder(CODEC))
    plain = [replace(one, sketches=None) for one in SAMPLES]
    assert [one.sketches for one in collate(1, forms)(plain)] == [None] * 4


@pytest.mark.parametrize("full", [(0, 0, SIDE, SIDE), (0, 0, SIDE, SIDE - 12)])
def test_objects_without_room_stay_where_they_are(full: tuple[int, int, int, int]):
    made = collate(1)([sample(1, full), sample(2, (0, 0, 16, 16))])
    assert made[0].names == ((1, 0),)


def test_no_lenders_no_change():
    assert collate(0)(SAMPLES) == SAMPLES
    assert collate(1)(SAMPLES[:1]) == SAMPLES[:1], "a picture does not lend to itself"
