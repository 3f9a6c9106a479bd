"""Expressions made from masks: right, clear, in a file that is read back; checked with an oracle of its own."""

import json
import re

import numpy as np
import pytest

from mvplm.data.catalog import get_dataset
from mvplm.data.scenes import SceneDataset, write_coco
from mvplm.label.colours import colour_shares, to_hsv
from mvplm.label.phrases import KINDS, PhraseSettings, Thing, may_mean, phrases
from mvplm.label.refs import RefSettings, make_refs
from mvplm.structures import Annotation, Record, Vocabulary
from mvplm.structures.masks import decode_mask, encode_mask

NUM = 16


def thing(place, name, x, y, *, width=0.1, height=0.1):
    return Thing(place, name, (x, y, x + width, y + height), width * height)


def said(*things, **extra):
    found = [(p.text, p.place) for p in phrases(things, **extra)]
    assert len({text for text, place in found}) == len(set(found))
    return set(found)


def test_a_lone_object_is_known_by_its_name():
    assert said(thing(0, "dog", 0, 0), thing(1, "car", 0.5, 0)) == {("the dog", 0), ("the car", 1)}


def test_positions_sizes_and_numbers():
    row = [thing(0, "dog", 0.0, 0.4), thing(1, "dog", 0.3, 0.4, width=0.2, height=0.2), thing(2, "dog", 0.7, 0.4)]
    assert said(*row) == {
        ("the leftmost dog", 0),
        ("the rightmost dog", 2),
        ("the largest dog", 1),
        ("the second dog from the left", 1),
        ("the second dog from the right", 1),
    }


def test_relations_need_every_rival_clearly_elsewhere():
    car = thing(2, "car", 0.45, 0.45)
    assert ("the dog left of the car", 0) in said(thing(0, "dog", 0.2, 0.45), thing(1, "dog", 0.7, 0.45), car)
    beside = said(thing(0, "dog", 0.2, 0.45), thing(1, "dog", 0.46, 0.45), car)
    assert not any("left of" in text for text, _ in beside)


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.06])
def test_nothing_is_said_about_a_close_call(gap):
    assert said(thing(0, "dog", 0.3, 0.3), thing(1, "dog", 0.3 + gap, 0.3 + gap)) == set()


def test_crowds_small_ones_and_longer_names_are_rivals():
    dog = thing(0, "dog", 0.3, 0.3)
    assert said(dog, uncertain=["dog"]) == set()
    assert said(dog, thing(1, "dog", 0.32, 0.32, width=0.01, height=0.01)) == {("the largest dog", 0)}
    assert said(dog, thing(1, "guard dog", 0.31, 0.3)) == {("the guard dog", 1)}
    assert said(thing(0, "dog", 0, 0, width=0.05, height=0.05)) == set()
    assert may_mean("dog", "hot dog") and not may_mean("hot dog", "dog") and not may_mean("dog", "dogs")


def painted(*colours, split=False):
    """A picture with one square of 40 pixels per colour on gray, and the squares' masks."""
    image = np.full((60, 60 * len(colours), 3), 128, np.uint8)
    masks = []
    for place, colour in enumerate(colours):
        mask = np.zeros(image.shape[:2], bool)
        mask[10:50, 60 * place + 10 : 60 * place + 50] = True
        image[mask] = colour
        masks.append(mask)
    if split:
        image[10:30, 10:50] = (30, 60, 220)
    return image, masks


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((220, 30, 30), (30, 60, 220), {"red", "blue"}),
        ((250, 250, 250), (20, 20, 20), {"white", "black"}),
        ((220, 30, 30), (200, 60, 60), set()),
        ((220, 30, 30), (230, 90, 40), set()),
        ((110, 150, 40), (40, 140, 60), set()),
    ],
)
def test_colours_are_said_only_beyond_doubt(first, second, expected):
    image, masks = painted(first, second)
    hsv = to_hsv(image)
    hsv = hsv if hsv is not None else to_hsv(np.concatenate([image, np.full_like(image, (255, 0, 0))]))[: len(image)]
    pair = [
        Thing(i, "car", (0.3 * i, 0.3, 0.3 * i + 0.1, 0.4), 0.05, colour_shares(hsv, mask))
        for i, mask in enumerate(masks)
    ]
    found = {p.text.split()[1] for p in phrases(pair) if p.kind == "attribute"}
    assert found == expected


def test_colours_are_not_said_of_mixed_tiny_or_colourless_things():
    image, masks = painted((220, 30, 30), (30, 200, 60), split=True)
    shares = colour_shares(to_hsv(image), masks[0])
    assert max(shares.certain.values()) < PhraseSettings().colour_share
    tiny = np.zeros(masks[0].shape, bool)
    tiny[10:15, 10:15] = True
    assert colour_shares(to_hsv(image), tiny) is None
    assert to_hsv(painted((250, 250, 250), (20, 20, 20))[0]) is None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Drawn scenes as files, and expressions made for them as if they had none."""
    path = write_coco(tmp_path_factory.mktemp("made"), num=NUM, seed=4, split="val")
    records = get_dataset("coco_folder", root=path, split="val", role="instance")
    summary = make_refs(records, path / "made.json", settings=RefSettings(none_share=0.5, per_image=8))
    return path, summary


def fits(text, shapes, masks, colours):
    """All things that an expression could mean, by a reading of its own: the drawn truth and pixel centres."""
    names = "|".join(sorted(set(shapes)))
    centres = [np.argwhere(mask).mean(0)[::-1] for mask in masks]

    def called(name):
        return [i for i, shape in enumerate(shapes) if shape == name]

    def ranked(name, origin):
        axis, sign = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}[origin]
        return sorted(called(name), key=lambda i: sign * centres[i][axis])

    if match := re.fullmatch(rf"the ({names})", text):
        return called(match[1])
    if match := re.fullmatch(rf"the (left|right|top)most ({names})", text):
        return ranked(match[2], match[1])[:1]
    if match := re.fullmatch(rf"the lowest ({names})", text):
        return ranked(match[1], "bottom")[:1]
    if match := re.fullmatch(rf"the (largest|smallest) ({names})", text):
        order = sorted(called(match[2]), key=lambda i: masks[i].sum() * (1 if match[1] == "smallest" else -1))
        return order[:1]
    if match := re.fullmatch(rf"the (second|third) ({names}) from the (left|right|top|bottom)", text):
        return [ranked(match[2], match[3])[1 if match[1] == "second" else 2]]
    if match := re.fullmatch(rf"the ({names}) (left of|right of|above|below) the ({names})", text):
        (anchor,) = called(match[3])
        axis, sign = {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}[match[2]]
        return [i for i in called(match[1]) if sign * centres[i][axis] < sign * centres[anchor][axis]]
    match = re.fullmatch(rf"the (\w+) ({names})", text)
    return [i for i in called(match[2]) if colours[i] == match[1]]


def test_every_expression_means_one_thing_and_the_right_one(folder):
    path, summary = folder
    world, kinds = SceneDataset("val", num=NUM, seed=4), set()
    read = get_dataset("coco_folder", root=path, split="val", role="referring", referring="made.json")
    for record in read:
        index = record.image_id - 1
        truth = world[index]
        looks = [item.look for item in world.layout(index).things]
        masks = [decode_mask(a.segmentation, truth.size) for a in truth.annotations if a.isthing]
        shapes = [look.shape for look in looks]
        for expression in record.expressions:
            kinds.add(expression.kind)
            if expression.kind == "none":
                assert expression.targets == () and expression.text.removeprefix("the ") not in shapes
                continue
            (target,) = expression.targets
            mask = decode_mask(record.annotations[target].segmentation, record.size)
            (meant,) = [i for i, other in enumerate(masks) if np.array_equal(other, mask)]
            assert fits(expression.text, shapes, masks, [look.colour for look in looks]) == [meant], expression.text
    assert kinds == {*KINDS, "none"} == set(summary.kinds)
    assert summary.images == NUM and sum(summary.kinds.values()) == sum(len(r.expressions) for r in read) > 2 * NUM


def test_the_same_seed_gives_the_same_file(folder, tmp_path):
    path, _ = folder
    records = get_dataset("coco_folder", root=path, split="val", role="instance", num=5)
    files = [tmp_path / name for name in "abc"]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        make_refs(records, file, settings=RefSettings(seed=seed, per_image=3))
    assert files[0].read_text() == files[1].read_text() != files[2].read_text()
    for entry in json.loads(files[0].read_text()):
        assert (path / entry["image"]).is_file() and entry["ann_ids"] and isinstance(entry["ann_ids"][0], int)


def test_what_cannot_be_told_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a file"):
        make_refs(SceneDataset("val", num=1), tmp_path / "x.json")
    boxed = Record(
        1, "a.png", (9, 9), vocabulary=Vocabulary(("dog",), (True,)), annotations=(Annotation((0, 0, 3, 3), 0),)
    )
    with pytest.raises(ValueError, match="no masks"):
        make_refs([boxed], tmp_path / "x.json")
    masked = Annotation((0, 0, 3, 3), 0, encode_mask(np.ones((9, 9), bool)))
    with pytest.raises(ValueError, match="not every object has its name"):
        make_refs([Record(1, "a.png", (9, 9), annotations=(masked,), exhaustive=False)], tmp_path / "x.json")
    with pytest.raises(ValueError, match="rival_share < colour_share"):
        PhraseSettings(rival_share=0.7)
    with pytest.raises(ValueError, match="none_share in"):
        RefSettings(none_share=2)
