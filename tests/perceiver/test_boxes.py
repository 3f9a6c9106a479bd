"""Box prompts: given boxes, in their order, become masks and names; what is no box is refused."""

from functools import cache

import numpy as np
import pytest
import torch
from oracles.tiny import build_tiny, tiny_perceiver

import mvplm
from mvplm.data.scenes import SceneDataset
from mvplm.perceiver import Perceiver
from mvplm.structures import BoxFormat, BoxPrompts, Perception, PromptedBoxes
from mvplm.structures.masks import decode_mask

BOXES = [[5, 4, 30, 40], [20.5, 10, 60, 44], [40, 0, 71, 20]]
NAMES = ("star", "ring", "sky", "green circle", "sand")
OTHER_ORDER = "prompt.order=instruction_first"


@cache
def other_order() -> Perceiver:
    return build_tiny(0, OTHER_ORDER)


@cache
def cut() -> Perceiver:
    return build_tiny(0, "vocab.max_names=2")


def same(one: Perception, two: Perception, within: float = 1e-4) -> None:
    first, second = one.instances, two.instances
    assert first.labels == second.labels
    torch.testing.assert_close(first.boxes, second.boxes, rtol=0, atol=within * 100)
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=within)
    assert float((first.masks != second.masks).float().mean()) < 1e-3


@pytest.mark.parametrize("mode", ["skip", "caption"])
@pytest.mark.parametrize("build", [tiny_perceiver, other_order, cut])
@pytest.mark.parametrize(
    "question", [{}, {"classes": NAMES}, {"classes": ["ring"]}, {"text": "the star left of the ring"}]
)
def test_one_instance_for_each_box_in_the_given_order(picture, build, question: dict, mode: str):
    answer = build().predict(picture, boxes=BOXES, mode=mode, **question)
    turned = build().predict(picture, boxes=BOXES[::-1], mode=mode, **question)
    found = answer.instances
    assert answer.task == "boxes" and len(found) == 3 and found.masks.shape == (3, 47, 71)
    assert bool(((found.scores >= 0) & (found.scores <= 1)).all()) and bool(torch.isfinite(found.boxes).all())
    same(
        answer, Perception(answer.size, "boxes", answer.query, instances=turned.instances.keep(torch.tensor([2, 1, 0])))
    )
    offered = question.get("classes") or [question.get("text", "object")]
    assert set(found.labels) <= set(offered) and answer.query == list(offered)
    assert [answer.query[i] for i in found.class_index.tolist()] == found.labels
    assert (answer.caption is not None) == (mode == "caption")


@pytest.mark.parametrize("build", [tiny_perceiver, other_order, cut])
def test_a_box_knows_nothing_of_the_other_boxes(picture, build):
    together = build().predict(picture, boxes=BOXES, classes=NAMES, mode="skip")
    for place, box in enumerate(BOXES):
        alone = build().predict(picture, boxes=[box], classes=NAMES, mode="skip")
        same(alone, Perception(together.size, "boxes", [], instances=together.instances.keep(torch.tensor([place]))))
    moved = build().predict(picture, boxes=[BOXES[0], [0, 0, 70, 46]], classes=NAMES, mode="skip").instances
    assert (moved.boxes[1] - together.instances.boxes[1]).abs().max() > 1


def test_given_names_are_kept_and_asked_for(picture):
    perceiver = tiny_perceiver()
    prompts = BoxPrompts(BOXES, [" ring", "star", "ring"])
    answer = perceiver.predict(picture, boxes=prompts, mode="skip")
    assert answer.instances.labels == ["ring", "star", "ring"] and answer.query == ["ring", "star"]
    other = perceiver.predict(picture, boxes=BoxPrompts(BOXES, ["star"] * 3), mode="skip")
    assert (answer.instances.boxes[0] - other.instances.boxes[0]).abs().max() > 1e-3
    more = perceiver.predict(picture, boxes=prompts, classes=NAMES, mode="skip")
    assert more.query == list(NAMES) and more.instances.labels == answer.instances.labels


@pytest.mark.parametrize("build", [tiny_perceiver, other_order])
def test_pictures_with_different_numbers_of_boxes_equal_their_single_calls(pictures, build):
    boxes = [BOXES, BoxPrompts([[1, 2, 30, 80]], ["star"]), np.array([[0, 0, 64, 64], [3, 3, 20, 20.0]])]
    together = build().predict(pictures, boxes=boxes, mode="skip", batch_size=3)
    for picture, given, answer in zip(pictures, boxes, together, strict=True):
        same(build().predict(picture, boxes=given, mode="skip"), answer)
    assert [len(answer.instances) for answer in together] == [3, 1, 2]


def test_every_form_of_boxes_means_the_same(picture):
    perceiver = build_tiny(0).set_image(picture)
    expected = perceiver.predict(boxes=BOXES, mode="skip")
    corners = torch.tensor(BOXES, dtype=torch.float64)
    sizes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    for given in (np.array(BOXES), corners, BoxPrompts(sizes, format=BoxFormat.XYWH_ABS)):
        same(perceiver.predict(boxes=given, mode="skip"), expected, within=1e-6)


def test_the_ordinary_queries_see_no_box(picture):
    perceiver = tiny_perceiver()
    sample = perceiver.mapper("detection", "skip")
    from mvplm.questions import Question, make_sample

    batch = perceiver.collate([make_sample(sample, picture, question=Question(NAMES, (True,) * 5), index=0)])
    from dataclasses import replace

    prompts = PromptedBoxes.of([torch.tensor([[0.5, 0.5, 0.4, 0.4]])], [[1]])
    without = perceiver.look(batch, mode="skip").perceived.output
    with_box = perceiver.look(replace(batch, box_prompts=prompts), mode="skip").perceived.output
    assert without.prompted is None and with_box.prompted.boxes.shape == (1, 1, 4)
    torch.testing.assert_close(with_box.logits, without.logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(with_box.boxes, without.boxes, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], "boxes is empty"),
        (np.zeros((0, 4)), "boxes is empty"),
        ([1, 2, 3, 4], r"shape \(P, 4\), got \(4,\)"),
        ([[1, 2, 3]], r"shape \(P, 4\), got \(1, 3\)"),
        ([[1, 2, 3, 4], [1, 2]], r"boxes must be numbers of shape \(P, 4\)"),
        ("here", r"boxes must be numbers of shape \(P, 4\)"),
        ([[0, 0, float("nan"), 5]], "must be finite numbers"),
        ([[0, 0, float("inf"), 5]], "must be finite numbers"),
        ([[1, 1, 5, 5], [9, 1, 5, 5]], r"box 1 must have x2 > x1 and y2 > y1, got \(9, 1, 5, 5\)"),
        ([[1, 1, 5, 1]], "box 0 must have x2 > x1 and y2 > y1"),
        ([[80, 1, 90, 9]], r"box 0 \(80, 1, 90, 9\) lies outside the image of 71 x 47 pixels"),
        ([[-9, -9, 0, 5]], "lies outside the image"),
    ],
)
def test_what_is_no_box(picture, boxes, message: str):
    with pytest.raises(ValueError, match=message):
        tiny_perceiver().predict(picture, boxes=boxes, mode="skip")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"text": ["a", "b"]}, "one text, not several"),
        ({"text": "a", "classes": ["b"]}, "either classes=.* or text="),
        ({"task": "instance"}, "'instance' does not go with boxes=; choose one of boxes"),
        ({"classes": []}, "classes is empty"),
    ],
)
def test_what_does_not_go_with_boxes(picture, question: dict, message: str):
    with pytest.raises(ValueError, match=message):
        tiny_perceiver().predict(picture, boxes=BOXES, mode="skip", **question)


def test_boxes_and_names_must_be_as_many_as_pictures_and_boxes(pictures):
    with pytest.raises(ValueError, match=r"needs boxes for each: got 2 for 3 image\(s\)"):
        tiny_perceiver().predict(pictures, boxes=[BOXES, BOXES], mode="skip")
    with pytest.raises(ValueError, match="3 boxes need as many names, got 2"):
        BoxPrompts(BOXES, ["a", "b"])
    with pytest.raises(ValueError, match="one name per box, got the string 'abc'"):
        BoxPrompts(BOXES, "abc")


def test_boxes_that_reach_over_the_border_are_clipped(picture):
    over = tiny_perceiver().predict(picture, boxes=[[-20, -5, 30, 90]], mode="skip")
    same(over, tiny_perceiver().predict(picture, boxes=[[0, 0, 30, 47]], mode="skip"), within=1e-6)


@pytest.fixture(scope="module")
def shipped() -> Perceiver:
    return mvplm.load("mvplm-tiny-scenes", device="cpu")


@pytest.mark.parametrize(("named", "least"), [(True, 0.8), (False, 0.6)])
def test_the_shipped_model_turns_boxes_into_masks(shipped: Perceiver, named: bool, least: float):
    overlaps, right = [], []
    for record in SceneDataset("val", num=3):
        things = [annotation for annotation in record.annotations if annotation.isthing and not annotation.iscrowd]
        names = [record.vocabulary.names[annotation.label] for annotation in things]
        prompts = BoxPrompts([annotation.box for annotation in things], names if named else None)
        offered = None if named else [n for n, isthing in zip(*_listed(record), strict=True) if isthing]
        found = shipped.predict(record.image, boxes=prompts, classes=offered, mode="skip").instances
        right += [given == told for given, told in zip(names, found.labels, strict=True)]
        for annotation, mask in zip(things, found.masks, strict=True):
            truth = torch.from_numpy(decode_mask(annotation.segmentation, record.size))
            overlaps.append(float((mask & truth).sum() / (mask | truth).sum()))
    assert len(overlaps) > 10 and sum(overlaps) / len(overlaps) > least
    assert sum(right) / len(right) > (0.99 if named else 0.7)


def _listed(record) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    return record.vocabulary.names, record.vocabulary.isthing
