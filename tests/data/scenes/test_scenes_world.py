"""The drawn world: same seed same scene, exact masks, sizes, occlusion, held-out combinations, roles."""

import pickle
import re
from itertools import islice

import numpy as np
import pytest

from mvplm.data.scenes import (
    HELD_OUT,
    NAME_VOCABULARY,
    ROLES,
    SHAPE_VOCABULARY,
    SceneDataset,
    scene_texts,
    world,
    world_hash,
)
from mvplm.data.scenes.palette import COLOURS
from mvplm.data.scenes.shapes import SHAPES, radius_for, sprite
from mvplm.structures.masks import decode_mask

WORLD_1 = "06dffe4975009e285d16764f382ca66a87a0776e41b9d0f4f37889ab923ff546"


@pytest.fixture(scope="module")
def layouts():
    dataset = SceneDataset("train", num=150, seed=5)
    return [dataset.layout(index) for index in range(150)]


@pytest.fixture(scope="module")
def records():
    dataset = SceneDataset("train", num=40, seed=5)
    return [dataset[index] for index in range(40)]


def test_easy_scenes_hold_few_things_and_differ_from_the_world_in_nothing_else(layouts):
    easy = SceneDataset("train", num=40, seed=5, most_things=3)
    assert {len(easy.layout(index).things) for index in range(40)} == {2, 3}
    same = SceneDataset("train", num=1, seed=5, most_things=10).layout(0)
    assert same.things == layouts[0].things
    for most in (1, 11):
        with pytest.raises(ValueError, match="most_things must be between 2 and 10"):
            SceneDataset("train", num=1, most_things=most)


def test_the_world_is_frozen():
    assert world_hash() == WORLD_1


def test_same_key_same_record_and_other_keys_differ():
    one, two = SceneDataset("val", num=3, seed=4), pickle.loads(pickle.dumps(SceneDataset("val", num=9, seed=4)))
    assert len(pickle.dumps(two)) < 10_000
    first, second = one[2], two[2]
    assert np.array_equal(first.image, second.image)
    assert first.annotations == second.annotations
    assert first.captions == second.captions
    assert first.expressions == second.expressions
    assert not np.array_equal(first.image, one[1].image)
    assert not np.array_equal(first.image, SceneDataset("val", num=3, seed=5)[2].image)
    assert not np.array_equal(first.image, SceneDataset("train", num=3, seed=4)[2].image)


def test_sequence_manners():
    dataset = SceneDataset("train", num=3)
    assert len(dataset) == 3
    assert dataset[-1].image_id == 2
    assert [record.image_id for record in dataset[1:]] == [1, 2]
    assert len(list(dataset)) == 3
    with pytest.raises(IndexError):
        dataset[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "trian"}, "did you mean 'train'"),
        ({"role": "panoptics"}, "did you mean 'panoptic'"),
        ({"vocabulary": "shape"}, "did you mean 'shapes'"),
        ({"num": -1}, "negative"),
        ({"size": 64}, "between 96 and"),
    ],
)
def test_wrong_arguments_name_the_choices(arguments, message):
    split = arguments.pop("split", "train")
    with pytest.raises(ValueError, match=message):
        SceneDataset(split, **{"num": 1, **arguments})


def test_masks_partition_the_image_and_boxes_are_tight(records):
    for record in records:
        assert record.image.shape == (192, 192, 3) and record.image.dtype == np.uint8
        total = np.zeros(record.size, int)
        for annotation in record.annotations:
            mask = decode_mask(annotation.segmentation, record.size)
            total += mask
            rows, columns = np.nonzero(mask)
            assert annotation.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert annotation.isthing == record.vocabulary.isthing[annotation.label]
        assert (total == 1).all()
        stuff = [record.vocabulary.names[a.label] for a in record.annotations if not a.isthing]
        assert 2 <= len(stuff) <= 4 and len(set(stuff)) == len(stuff)


def test_visible_masks_follow_painters_order(layouts):
    for layout in layouts[:40]:
        front = np.zeros((layout.size, layout.size), int)
        for place, placed in enumerate(layout.placed, start=1):
            rows, columns = np.nonzero(placed.sprite.distance < 0)
            front[rows + placed.top, columns + placed.left] = place
        assert np.array_equal(front, layout.front)
        for place, thing in enumerate(layout.things, start=1):
            assert thing.visible == (front == place).sum()


def test_counts_sizes_and_occlusion_stay_in_bounds(layouts):
    things = [thing for layout in layouts for thing in layout.things]
    numbers = {len(layout.things) for layout in layouts}
    assert numbers == set(range(2, 11))
    shares = np.array([thing.area for thing in things]) / 192**2
    assert shares.min() >= 0.01 and shares.max() <= 0.25
    assert shares.min() < 0.012 and shares.max() > 0.18
    assert max(s for t, s in zip(things, shares, strict=True) if t.look.size == "small") < 0.0205
    assert min(s for t, s in zip(things, shares, strict=True) if t.look.size == "large") > 0.085
    hidden = np.array([thing.hidden for thing in things])
    assert ((hidden == 0) | ((hidden >= 0.05) & (hidden <= 0.6))).all()
    assert 0.2 < (hidden > 0).mean() < 0.32


def test_all_shapes_colours_and_patterns_occur(layouts):
    looks = [thing.look for layout in layouts for thing in layout.things]
    assert {look.shape for look in looks} == set(SHAPES)
    assert {look.colour for look in looks} == set(COLOURS)
    assert {look.pattern for look in looks} == {"plain", "striped", "dotted", "checkered"}
    assert {region.name for layout in layouts for region in layout.background.regions} == set(
        name for name, isthing in zip(SHAPE_VOCABULARY.names, SHAPE_VOCABULARY.isthing, strict=True) if not isthing
    )


def test_most_scenes_plant_a_distractor(layouts):
    planted = [any(a.look.differences(b.look) == 1 for a in layout.things for b in layout.things) for layout in layouts]
    assert np.mean(planted) > 0.85


@pytest.mark.parametrize("name", list(SHAPES))
def test_sprites_have_the_area_asked_for(name):
    for area in (400.0, 4000.0):
        drawn = sprite(name, radius_for(name, area), angle=7.0, shift=(0.25, -0.4))
        assert drawn.area == pytest.approx(area, rel=0.03)
        assert (drawn.near | ~drawn.inside).all()


def test_things_have_the_colour_of_their_name(records):
    for record in records[:15]:
        layout = SceneDataset("train", num=40, seed=5).layout(record.image_id)
        for thing, annotation in zip(layout.things, record.annotations, strict=False):
            if thing.look.pattern != "plain":
                continue
            pixels = record.image[decode_mask(annotation.segmentation)].astype(float)
            distance = {name: np.linalg.norm(np.median(pixels, 0) - rgb) for name, rgb in COLOURS.items()}
            assert min(distance, key=distance.get) == thing.look.colour


def _forbidden():
    pairs = [name.split() for name in HELD_OUT]
    forms = [rf"{colour} (?:{shape}|{SHAPES[shape].plural})" for colour, shape in pairs]
    return re.compile(rf"\b(?:{'|'.join(forms)})\b", re.IGNORECASE)


@pytest.mark.parametrize("split", ["train", "val"])
def test_held_out_combinations_never_leak(split):
    forbidden = _forbidden()
    for index in range(150):
        key = world.SceneKey(split, 21, index)
        layout = world.make_layout(key)
        assert not {thing.look.name for thing in layout.things} & HELD_OUT
        texts = [*world.make_captions(key, layout), *world.make_phrases(key, layout)]
        for text in (*texts, *(expression.text for expression in world.make_expressions(key, layout))):
            assert not forbidden.search(text), text
    names = SceneDataset(split, num=1, role="detection").vocabulary.names
    assert set(names) == set(NAME_VOCABULARY.names) - HELD_OUT


def test_tokenizer_texts_are_finite_fixed_and_clean():
    texts = list(scene_texts())
    assert texts[:600] == list(islice(scene_texts(), 600))
    assert 2000 < len(texts) < 10_000
    assert not _forbidden().search("\n".join(texts))
    words = set(re.findall(r"[a-z]+", " ".join(texts).lower()))
    assert len(words) < 250
    later = SceneDataset("heldout", num=20, seed=3)
    for record in later:
        for text in (*record.captions, *(e.text for e in record.expressions)):
            assert set(re.findall(r"[a-z]+", text.lower())) <= words


def test_held_out_list_is_balanced():
    assert len(HELD_OUT) == 12 and set(NAME_VOCABULARY.names) > HELD_OUT
    words = [word for name in HELD_OUT for word in name.split()]
    assert all(words.count(word) in (1, 2) for word in (*COLOURS, *SHAPES))


def test_heldout_split_shows_about_half_held_out_things():
    dataset = SceneDataset("heldout", num=100)
    names = [thing.look.name for index in range(100) for thing in dataset.layout(index).things]
    assert 0.42 < np.mean([name in HELD_OUT for name in names]) < 0.58
    assert set(names) >= HELD_OUT
    assert SceneDataset("heldout", num=1, role="detection").vocabulary.names == NAME_VOCABULARY.names


@pytest.mark.parametrize("role", ROLES)
def test_roles_tell_what_they_should_about_the_same_picture(role):
    record, full = SceneDataset("train", num=3, role=role)[1], SceneDataset("train", num=3)[1]
    things = [a for a in full.annotations if a.isthing]
    assert np.array_equal(record.image, full.image) and record.captions == full.captions and len(record.captions) == 4
    masks, stuff, phrases, expressions, vocabulary = {
        "panoptic": (True, True, False, False, SHAPE_VOCABULARY.names),
        "detection": (False, False, False, False, tuple(n for n in NAME_VOCABULARY.names if n not in HELD_OUT)),
        "grounding": (False, False, True, False, None),
        "referring": (True, False, False, True, SHAPE_VOCABULARY.names[:10]),
        "caption": (False, False, False, False, None),
        "all": (True, True, True, True, SHAPE_VOCABULARY.names),
    }[role]
    assert (record.vocabulary and record.vocabulary.names) == vocabulary
    assert record.expressions == (full.expressions if expressions else ())
    if role == "caption":
        assert record.annotations == ()
        return
    assert len(record.annotations) == len(full.annotations if stuff else things)
    for annotation, known in zip(record.annotations, full.annotations, strict=False):
        assert annotation.box == known.box and annotation.isthing == known.isthing
        assert annotation.segmentation == (known.segmentation if masks else None)
        assert annotation.phrase == (known.phrase if phrases else None)
        assert (annotation.label is None) == (vocabulary is None)


def test_names_vocabulary_serves_masks_too():
    dataset = SceneDataset("train", num=2, role="panoptic", vocabulary="names")
    record, layout = dataset[0], dataset.layout(0)
    labels = [record.vocabulary.names[a.label] for a in record.annotations]
    assert labels[: len(layout.things)] == [thing.look.name for thing in layout.things]
    assert all(a.segmentation is not None for a in record.annotations)
    assert len(record.vocabulary) == 88 + 6


def test_looks_say_everything_that_is_ever_said_of_a_thing():
    dataset = SceneDataset("train", num=2, role="referring", vocabulary="looks")
    record, layout = dataset[0], dataset.layout(0)
    for annotation, thing in zip(record.annotations, layout.things, strict=True):
        size = [] if thing.look.size == "medium" else [thing.look.size]
        words = [*size, thing.look.pattern, thing.look.colour, thing.look.shape]
        assert record.vocabulary.names[annotation.label].split() == words
    # Three sizes, four patterns, and the seen combinations of colour and shape.
    assert len(record.vocabulary) == 3 * 4 * 88
    groups = SceneDataset("heldout", num=1, role="referring", vocabulary="looks").name_groups
    assert len(groups["seen"]) == 3 * 4 * 88 and len(groups["heldout"]) == 3 * 4 * 12


def test_other_sizes_draw_the_same_kind_of_scene():
    record = SceneDataset("train", num=1, size=256)[0]
    assert record.image.shape == (256, 256, 3) and record.size == (256, 256)
    assert sum(decode_mask(a.segmentation, (256, 256)).sum() for a in record.annotations) == 256 * 256
