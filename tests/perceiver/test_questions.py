"""What can be asked: tasks with their parts and sizes, names and texts of every kind, and what is refused."""

import numpy as np
import pytest
import torch
from oracles.tiny import NAMES, build_tiny

from mvplm.perceiver import Perceiver
from mvplm.structures import Perception

SIZE = (47, 71)


def parts(answer: Perception) -> set[str]:
    return {name for name in ("instances", "panoptic", "semantic") if getattr(answer, name) is not None}


def test_instances_have_boxes_and_masks_of_the_original_size(perceiver: Perceiver, picture):
    answer = perceiver.predict(picture, classes=["ring", "star"], mode="skip")
    found = answer.instances
    assert (answer.task, answer.size, parts(answer)) == ("instance", SIZE, {"instances"})
    assert len(found) and found.masks.shape == (len(found), *SIZE) and found.masks.dtype == torch.bool
    assert found.boxes.dtype == torch.float32 and bool((found.boxes >= 0).all())
    assert bool((found.boxes[:, 2] <= SIZE[1]).all()) and bool((found.boxes[:, 3] <= SIZE[0]).all())
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert [answer.query[place] for place in found.class_index.tolist()] == found.labels
    assert not answer.no_target and answer.presence is None


@pytest.mark.parametrize("task", ["detection", "grounding"])
def test_boxes_only(perceiver: Perceiver, picture, task: str):
    answer = perceiver.predict(picture, classes=["the left ring", "star"], task=task, mode="skip")
    assert (answer.task, parts(answer)) == (task, {"instances"})
    assert len(answer.instances) and answer.instances.masks is None
    assert set(answer.instances.labels) == {"the left ring", "star"}


def test_panoptic_map(perceiver: Perceiver, picture, loose):
    answer = perceiver.predict(picture, classes=NAMES, task="panoptic", mode="skip", settings=loose)
    found = answer.panoptic
    assert parts(answer) == {"panoptic"} and found.segment_map.dtype == torch.int32
    assert tuple(found.segment_map.shape) == SIZE
    assert found.segments and {s.id for s in found.segments} | {0} >= set(found.segment_map.unique().tolist())
    for segment in found.segments:
        assert segment.area == int((found.segment_map == segment.id).sum()) > 0
        assert segment.label == NAMES[segment.class_index]
        assert segment.isthing == (segment.label not in ("sky", "sand"))


def test_semantic_map(perceiver: Perceiver, picture):
    answer = perceiver.predict(picture, classes=NAMES, task="semantic", mode="skip")
    assert parts(answer) == {"semantic"} and tuple(answer.semantic.class_map.shape) == SIZE
    assert answer.semantic.labels == list(NAMES)
    assert set(answer.semantic.class_map.unique().tolist()) <= set(range(len(NAMES)))


def test_referring(perceiver: Perceiver, picture, loose):
    answer = perceiver.predict(picture, text="the left one", mode="skip", settings=loose)
    assert (answer.task, answer.query, parts(answer)) == ("referring", ["the left one"], {"instances"})
    assert len(answer.instances) and answer.instances.masks.shape[1:] == SIZE and not answer.no_target
    assert 0 <= answer.presence <= 1
    strict = perceiver.predict(picture, text="the left one", mode="skip")
    assert strict.no_target and not len(strict.instances) and strict.presence == pytest.approx(answer.presence)


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (200, 3)])
def test_pictures_of_extreme_shape(perceiver: Perceiver, size: tuple[int, int], loose):
    picture = np.full((*size, 3), 90, np.uint8)
    found = perceiver.predict(picture, classes=["star", "sky"], task="panoptic", mode="skip", settings=loose)
    assert tuple(found.panoptic.segment_map.shape) == size
    answer = perceiver.predict(picture, text="it", mode="skip", settings=loose)
    assert bool(torch.isfinite(answer.instances.boxes).all()) and answer.size == size


def test_the_model_says_what_it_sees_before_it_looks(perceiver: Perceiver, picture):
    skipped = perceiver.predict(picture, classes=["star"], mode="skip")
    spoken = perceiver.predict(picture, classes=["star"], mode="caption")
    assert skipped.caption is None and not skipped.forced_summary
    assert isinstance(spoken.caption, str) and spoken.caption and isinstance(spoken.forced_summary, bool)
    assert set(spoken.timings) == {"model", "postprocess"} and min(spoken.timings.values()) >= 0
    assert perceiver.predict(picture, classes=["star"]).caption == spoken.caption
    with pytest.raises(ValueError, match=r"mode must be one of .*caption.*skip"):
        perceiver.predict(picture, classes=["star"], mode="captoin")


def test_captions_do_not_depend_on_the_batch(perceiver: Perceiver, pictures):
    lists = [["star"], ["ring", "green circle", "sand"], ["star", "ring"]]
    together = perceiver.predict(pictures, classes=lists, mode="caption", batch_size=3)
    alone = [perceiver.predict(p, classes=names, mode="caption") for p, names in zip(pictures, lists, strict=True)]
    assert [answer.caption for answer in together] == [answer.caption for answer in alone]
    assert [answer.forced_summary for answer in together] == [answer.forced_summary for answer in alone]


def test_a_model_trained_without_responses_skips_by_default(picture):
    quiet = build_tiny(0, "response.kind=none")
    assert quiet.predict(picture, classes=["star"]).caption is None


def test_names_of_stuff_find_nothing_among_things_and_keep_their_places(perceiver: Perceiver, picture):
    for task in ("instance", "detection"):
        answer = perceiver.predict(picture, classes=["sky", "ring", "sand", "star"], task=task, mode="skip")
        assert answer.query == ["sky", "ring", "sand", "star"]
        assert set(answer.instances.labels) == {"ring", "star"}
        assert [answer.query[place] for place in answer.instances.class_index.tolist()] == answer.instances.labels
        things = perceiver.predict(picture, classes=["ring", "star"], task=task, mode="skip")
        assert torch.equal(things.instances.boxes, answer.instances.boxes)
    entries = answer.to_coco(category_ids=[10, 20, 30, 40])
    assert {entry["category_id"] for entry in entries} == {20, 40}
    with pytest.raises(ValueError, match="'instance' looks for things, but all classes are stuff: Sky, sand"):
        perceiver.predict(picture, classes=["Sky", "sand"])


def test_the_caller_says_what_is_stuff(perceiver: Perceiver, picture, loose):
    def ask(**given) -> list[bool]:
        answer = perceiver.predict(picture, classes=["star"], task="panoptic", mode="skip", settings=loose, **given)
        return [segment.isthing for segment in answer.panoptic.segments]

    assert set(ask()) == {True} and set(ask(stuff=["  STAR "])) == {False} and set(ask(stuff=[])) == {True}
    answer = perceiver.predict(picture, classes=["sky"], stuff=(), mode="skip")
    assert set(answer.instances.labels) == {"sky"}
    with pytest.raises(ValueError, match="stuff must be a list of names, got the string 'sky'"):
        perceiver.predict(picture, classes=["sky"], stuff="sky")


ODD_TEXTS = ["<PER>", "a <image> of\n two\tlines", "🐈‍⬛ cat", "<|endoftext|>", "[/INST]", "naïve Ω"]


@pytest.mark.parametrize("mode", ["skip", "caption"])
def test_odd_names_are_only_text(perceiver: Perceiver, picture, loose, mode: str):
    answer = perceiver.predict(picture, classes=ODD_TEXTS, mode=mode)
    cleaned = [" ".join(text.split()) for text in ODD_TEXTS]
    assert answer.query == cleaned and set(answer.instances.labels) <= set(cleaned)
    plain = perceiver.predict(picture, classes=["star", *ODD_TEXTS], task="detection", mode="skip")
    assert len(plain.instances)
    spoken = perceiver.predict(picture, text=ODD_TEXTS, mode=mode, settings=loose)
    assert [answer.query for answer in spoken] == [[text] for text in cleaned]
    assert len({round(answer.presence, 7) for answer in spoken}) == len(ODD_TEXTS)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({}, "either classes=.* or text="),
        ({"classes": ["a"], "text": "b"}, "not both"),
        ({"classes": "star"}, "classes must be a list of names, got the string 'star'"),
        ({"classes": []}, "classes is empty"),
        ({"classes": [""]}, "a name must not be empty, got ''"),
        ({"classes": ["star", " \n"]}, r"a name must not be empty, got ' \\n'"),
        ({"classes": ["star", "\u200b"]}, "a name must not be empty"),
        ({"classes": ["star", ["ring"]]}, "a name must be a string, got list"),
        ({"classes": ["star", " star"]}, "repeated: 'star'"),
        ({"classes": [["star"], ["ring"]]}, r"one per image: got 2 for 1 image\(s\)"),
        ({"text": ""}, "text is empty"),
        ({"text": []}, "text is empty"),
        ({"text": "  \n"}, "expression must not be empty"),
        ({"text": ["fine", ""]}, "expression must not be empty"),
        ({"text": "\ud800"}, "not valid Unicode|must not be empty"),
        ({"classes": ["star"], "task": "referring"}, "'referring' does not go with classes=.*panoptic"),
        ({"text": "it", "task": "panoptic"}, "'panoptic' does not go with text=; choose one of referring"),
        ({"classes": ["star"], "task": "panopic"}, "'panopic' does not go with classes=; choose one of .*panoptic"),
    ],
)
def test_what_cannot_be_asked(perceiver: Perceiver, picture, question: dict, message: str):
    with pytest.raises(ValueError, match=message):
        perceiver.predict(picture, mode="skip", **question)


def test_a_class_list_per_image_must_fit(perceiver: Perceiver, pictures):
    with pytest.raises(ValueError, match=r"got 2 for 3 image\(s\)"):
        perceiver.predict(pictures, classes=[["star"], ["ring"]])
    with pytest.raises(ValueError, match="classes is empty"):
        perceiver.predict(pictures[:2], classes=[["star"], []])


def test_a_prompt_that_is_too_long_is_refused(perceiver: Perceiver, picture):
    with pytest.raises(ValueError, match=r"the prompt has \d+ tokens .* the context holds 2048"):
        perceiver.predict(picture, text="星" * 900, mode="skip")
