"""Responses by kind, and the coloured view of a prompt."""

import random
from collections import Counter

import pytest

from mvplm.prompts import Conversation, compose_response, family_of, normalise_caption, render, show_legend, show_prompt


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("A dog", "A dog."),
        ("A dog .", "A dog."),
        (" A  dog\nruns!! ", "A dog runs!"),
        ("What?!", "What?"),
        ("Hi...", "Hi."),
        ("Hi…", "Hi."),
        ("...", ""),
        ("", ""),
        ("One. Two", "One. Two."),
    ],
)
def test_captions_end_in_exactly_one_mark(raw, expected):
    assert normalise_caption(raw) == expected


def test_captions_are_drawn_uniformly_over_usable_ones():
    rng = random.Random(0)
    counts = Counter(compose_response("caption", captions=["a", "b", " ", "c"], rng=rng) for _ in range(3000))
    assert set(counts) == {"a.", "b.", "c."} and min(counts.values()) > 900


def test_no_caption_and_kind_none_give_no_response():
    assert compose_response("caption", captions=[], rng=random.Random(0)) == ""
    assert compose_response("none", captions=["a"], present_names=["b"], rng=random.Random(0)) == ""


def test_existing_objects_are_unique_and_shuffled():
    rng = random.Random(0)
    texts = {compose_response("existing_objects", present_names=["a", "b", "a"], rng=rng) for _ in range(50)}
    assert texts == {"There exists a, b.", "There exists b, a."}
    assert compose_response("existing_objects", expressions=["the dog"], rng=rng) == "There exists the dog."
    assert compose_response("existing_objects", captions=["x"], rng=rng) == "There exists nothing."


def test_caption_dropout_has_its_probability():
    rng = random.Random(0)
    empty = sum(not compose_response("caption", captions=["a"], rng=rng, caption_dropout=0.2) for _ in range(2000))
    assert 330 < empty < 470


def test_wrong_kinds_and_probabilities_are_refused():
    with pytest.raises(ValueError, match="unknown response kind 'captions'; did you mean 'caption'"):
        compose_response("captions", rng=random.Random(0))
    with pytest.raises(ValueError, match=r"caption_dropout must be in \[0, 1\], got 2"):
        compose_response("caption", captions=["a"], rng=random.Random(0), caption_dropout=2)


def test_families_of_tasks():
    assert [family_of(task) for task in ("panoptic", "grounding", "rec", "caption")] == ["word"] * 2 + [
        "sentence",
        "caption",
    ]
    with pytest.raises(ValueError, match="unknown task 'panoptics'; did you mean 'panoptic'"):
        family_of("panoptics")


def test_view_marks_names_supervision_image_and_controls(small):
    conversation = Conversation("word", ("red star", "🐶[bold]"), response="A red star.")
    prompt = render(conversation, small, num_image_tokens=7)
    text = show_prompt(prompt, small)
    assert "[image x 7]" in text.plain and text.plain.endswith(" The perception result is<PER>[end]")
    assert "🐶[bold]" in text.plain
    underlined = "".join(text.plain[s.start : s.end] for s in text.spans if "underline" in str(s.style))
    green = "".join(text.plain[s.start : s.end] for s in text.spans if "green" in str(s.style))
    assert underlined == " red star 🐶[bold]"
    assert green == " A red star. The perception result is"
    supervised = int((prompt.labels >= 0).sum())
    assert f"supervised {supervised}" in show_legend(prompt).plain and "names 2" in show_legend(prompt).plain
