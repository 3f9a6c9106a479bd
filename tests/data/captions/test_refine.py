"""Refinement of captions: golden entropies, hedging, length, duplicates."""

import json
import logging
import math

import pytest

from mvplm.data.captions import RefineSettings, refine_captions, word_entropy


def refine(text, **extra):
    return refine_captions([text], **extra)[0]


# Golden G48.
@pytest.mark.parametrize(
    ("text", "words", "entropy", "evenness", "rule"),
    [
        ("a a a a a a a a", 8, 0.0, 0.0, "entropy"),
        (" ".join(["the image shows a dog."] * 8), 40, 2.3219, 0.4363, "entropy"),
        ("A man rides a brown horse on a beach.", 9, 2.6416, 0.8333, ""),
        ("A dog.", 2, 1.0, 1.0, "length"),
        ("It is is is a a picture picture of of dog dog dog dog", 14, 2.4677, 0.6481, "entropy"),
    ],
)
def test_entropy_golden(text, words, entropy, evenness, rule):
    assert word_entropy(text) == pytest.approx(entropy, abs=5e-5)
    assert word_entropy(text) / math.log2(words) == pytest.approx(evenness, abs=5e-5)
    assert refine(text).rule == rule


# Golden G49.
def test_hedging_sentences_go_and_the_month_stays():
    refined = refine("A man rides a horse. He may be late. It was taken in May 2012.")
    assert refined.text == "A man rides a horse. It was taken in May 2012."
    assert refined.dropped == ("He may be late.",) and refined.kept


@pytest.mark.parametrize(
    ("sentence", "hedges"),
    [
        ("May be a cat on it.", True),
        ("The sky SUGGESTS rain.", True),
        ("It appears  to run.", True),
        ("A dog appears on a sofa.", False),
        ("It could be a cat.", True),
        ("It could run.", False),
        ("A likely-looking place.", False),
        ("The mighty dog.", False),
        ("Mayor of the town.", False),
        ('A sign that says "Possible".', True),
    ],
)
def test_hedges_are_whole_words(sentence, hedges):
    base = "A man rides a brown horse on a beach."
    assert bool(refine(f"{base} {sentence}").dropped) is hedges


def test_nothing_but_hedging_is_rejected_and_logged(caplog):
    with caplog.at_level(logging.INFO):
        assert refine("Perhaps it is a dog on a long red sofa.", image_id="p9").rule == "hedging"
    assert "image p9: caption rejected by rule hedging" in caplog.text
    assert refine(" ... ").rule == "empty"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("**Caption:** A man rides\n a brown horse", "A man rides a brown horse."),
        ("The image shows: a man on a brown horse!!", "a man on a brown horse!"),
        ("The image shows a man on a brown horse", "The image shows a man on a brown horse."),
        ("# Title of it\n- a man on a `brown` horse", "Title of it a man on a brown horse."),
        ("Dr. Who and [a man](http://x) ride horses.", "Dr. Who and a man ride horses."),
    ],
)
def test_cleaning(raw, clean):
    assert refine(raw, settings=RefineSettings(min_entropy=0, min_evenness=0)).text == clean


def test_long_captions_keep_leading_sentences():
    numbered = [" ".join(f"w{i}x{j}" for j in range(10)) + "." for i in range(15)]
    refined = refine(" ".join(numbered))
    assert refined.cut and refined.text == " ".join(numbered[:12])
    by_tokens = refine(" ".join(numbered[:12]), count_tokens=lambda text: 2 * len(text.split()))
    assert by_tokens.cut and by_tokens.text == " ".join(numbered[:8])
    assert refine("word " * 121).rule == "length"


def test_duplicates_of_a_surviving_caption_go():
    base = "A man rides a brown horse on a beach"
    assert [r.rule for r in refine_captions([base, "A dog.", base + ".", base + "!"])] == [
        "",
        "length",
        "duplicate",
        "",
    ]


def test_human_captions_nearly_all_survive(shared_data):
    file = shared_data / "coco_mini" / "annotations" / "captions_val.json"
    if not file.is_file():
        pytest.skip(f"no human captions: {file} is absent")
    texts = [annotation["caption"] for annotation in json.loads(file.read_text())["annotations"]]
    refined = [refine(text) for text in texts]
    assert sum(r.kept for r in refined) >= 0.98 * len(texts)
    assert not any(r.cut for r in refined)
