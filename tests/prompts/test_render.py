"""Rendering: golden token counts with GPT-2's vocabulary, labels and spans in lock-step."""

import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvplm.prompts import Conversation, clean_text, render

FRUIT = ("apple", "banana", "orange")
TAIL = [383, 11202, 1255, 318]


# Golden G18.
def test_word_list_golden(gpt2):
    prompt = render(Conversation("word", FRUIT, response=""), gpt2, num_image_tokens=256)
    assert prompt.image_span == (50, 306)
    assert prompt.name_spans.tolist() == [[325, 326], [327, 328], [329, 330]]
    assert prompt.input_ids[325:331].tolist() == [17180, 11, 25996, 11, 10912, 13]
    assert prompt.summary_index == 338 and len(prompt) == 340
    assert prompt.input_ids[334:].tolist() == [*TAIL, gpt2.summary_id, gpt2.end_id]
    assert (prompt.input_ids[50:306] == gpt2.pad_id).all()


# Golden G20.
def test_word_labels_golden(gpt2):
    prompt = render(Conversation("word", FRUIT, response=""), gpt2, num_image_tokens=256)
    assert (prompt.labels[:334] == -100).all()
    assert prompt.labels[334:].tolist() == [*TAIL, gpt2.summary_id, gpt2.end_id]


def test_open_prompt_is_the_question_alone(gpt2):
    question = render(Conversation("word", FRUIT), gpt2, num_image_tokens=256)
    answered = render(Conversation("word", FRUIT, response="Fruit."), gpt2, num_image_tokens=256)
    assert len(question) == 334 and question.summary_index is None
    assert (question.labels == -100).all()
    assert answered.input_ids[:334].equal(question.input_ids)
    assert gpt2.decode(answered.labels[334:].tolist()) == " Fruit. The perception result is"
    assert answered.input_ids[answered.summary_index] == gpt2.summary_id


# Golden G18.
def test_coco_panoptic_list_golden(gpt2, shared_data):
    file = shared_data / "coco_mini" / "annotations" / "panoptic_val.json"
    if not file.is_file():
        pytest.skip(f"no COCO categories: {file} is absent")
    categories = json.loads(file.read_text())["categories"]
    names = tuple(re.sub("-(merged|other|stuff)", "", category["name"]) for category in categories)
    prompt = render(Conversation("word", names, response=""), gpt2, num_image_tokens=256)
    question = render(Conversation("word", names), gpt2, num_image_tokens=256)
    assert (len(question), prompt.summary_index, len(prompt)) == (641, 645, 647)


# Golden G19.
def test_sentence_golden(gpt2):
    prompt = render(Conversation("sentence", ("the left dog",), response=""), gpt2, num_image_tokens=256)
    question = render(Conversation("sentence", ("the left dog",)), gpt2, num_image_tokens=256)
    assert prompt.name_spans.tolist() == [[317, 320]]
    assert (len(question), prompt.summary_index, len(prompt)) == (323, 327, 329)


# Golden G22.
def test_order_moves_names_but_not_their_tokens(gpt2):
    straight = render(Conversation("word", ("apple", "traffic light", "dog"), response=""), gpt2, num_image_tokens=4)
    shuffled = render(
        Conversation("word", ("apple", "traffic light", "dog"), order=(2, 0, 1), response=""), gpt2, num_image_tokens=4
    )
    for first, second in zip(straight.name_spans.tolist(), shuffled.name_spans.tolist(), strict=True):
        assert straight.input_ids[slice(*first)].equal(shuffled.input_ids[slice(*second)])
    assert shuffled.name_spans[:, 0].argsort().tolist() == [2, 0, 1]
    assert len(straight) == len(shuffled)


def test_caption_has_no_wrapper_and_no_summary(gpt2):
    prompt = render(Conversation("caption", response="A red dog."), gpt2, num_image_tokens=3)
    text = gpt2.encode(" A red dog.")
    assert prompt.image_span == (0, 3) and prompt.summary_index is None and prompt.name_spans.shape == (0, 2)
    assert prompt.input_ids[3:].tolist() == [*text, gpt2.end_id] == prompt.labels[3:].tolist()
    assert prompt.labels[:3].tolist() == [-100] * 3
    assert len(render(Conversation("caption"), gpt2, num_image_tokens=3)) == 3


def test_repeated_names_share_a_span_only_when_asked(small):
    with pytest.raises(ValueError, match="repeated: 'red star'"):
        Conversation("word", ("red star", "dog", "red \n star"))
    shared = Conversation("word", ("red star", "dog", "red \n star"), order=(2, 1, 0), dedupe=True, response="")
    prompt = render(shared, small, num_image_tokens=2)
    once = render(Conversation("word", ("red star", "dog"), response=""), small, num_image_tokens=2)
    assert prompt.name_spans[0].tolist() == prompt.name_spans[2].tolist() == once.name_spans[0].tolist()
    assert prompt.input_ids.equal(once.input_ids)


def test_too_long_prompts_are_refused_with_counts(small):
    conversation = Conversation("word", ("star",), response="")
    length = len(render(conversation, small, num_image_tokens=4))
    assert len(render(conversation, small, num_image_tokens=4, max_length=length)) == length
    with pytest.raises(ValueError, match=f"{length} tokens .*1 names.*holds {length - 1}"):
        render(conversation, small, num_image_tokens=4, max_length=length - 1)
    with pytest.raises(ValueError, match="num_image_tokens must be positive"):
        render(conversation, small, num_image_tokens=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "words", "names": ("a",)}, "unknown family 'words'; did you mean 'word'"),
        ({"family": "word", "names": ()}, "at least one name, got 0"),
        ({"family": "word", "names": ("a", " \n ")}, "a name must not be empty"),
        ({"family": "word", "names": ("\u200b",)}, "a name must not be empty"),
        ({"family": "word", "names": "dog"}, "sequence of strings"),
        ({"family": "word", "names": (3,)}, "must be a string, got int"),
        ({"family": "sentence", "names": ("a", "b")}, "exactly one expression, got 2"),
        ({"family": "sentence", "names": ("",)}, "an? expression must not be empty"),
        ({"family": "caption", "names": ("a",)}, "no names, got 1"),
        ({"family": "caption", "response": " "}, "a caption must not be empty"),
        ({"family": "word", "names": ("a", "b"), "order": (0, 0)}, r"permutation of 0..1, got \(0, 0\)"),
    ],
)
def test_wrong_conversations_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conversation(**arguments)


@pytest.mark.parametrize(
    "text", ["<PER>", "<image>", "<|endoftext|>", "a <PER> b", "line\nbreak", "🐶 dog 🏳️‍🌈", "größe", "[/INST]", "a, b."]
)
@pytest.mark.parametrize("family", ["word", "sentence"])
def test_user_text_is_never_interpreted(small, text, family):
    conversation = Conversation(family, (text,), response=f"It says {text}")
    prompt = render(conversation, small, num_image_tokens=2)
    text_ids = prompt.input_ids.tolist()[:-2]
    del text_ids[slice(*prompt.image_span)]
    assert prompt.input_ids.tolist().count(small.summary_id) == 1
    assert small.end_id not in text_ids
    start, end = prompt.name_spans[0].tolist()
    assert small.decode(prompt.input_ids[start:end].tolist()).strip() == clean_text(text)


NAMES = st.text(min_size=1, max_size=12).filter(lambda t: any(c.isprintable() and not c.isspace() for c in t))


@given(
    names=st.lists(NAMES, min_size=1, max_size=5, unique_by=lambda t: " ".join(t.split())),
    response=st.none() | st.text(max_size=20),
    image=st.integers(1, 5),
    seed=st.randoms(use_true_random=False),
)
def test_ids_labels_and_spans_stay_in_lock_step(small, names, response, image, seed):
    order = list(range(len(names)))
    seed.shuffle(order)
    conversation = Conversation("word", tuple(names), order=tuple(order), response=response)
    prompt = render(conversation, small, num_image_tokens=image)
    supervised = prompt.labels >= 0
    assert prompt.labels[supervised].equal(prompt.input_ids[supervised])
    for (start, end), name in zip(prompt.name_spans.tolist(), names, strict=True):
        assert small.decode(prompt.input_ids[start:end].tolist()) == " " + clean_text(name)
        assert not supervised[start:end].any()
    assert torch.unique(prompt.name_spans[:, 0]).numel() == len(names)
    if response is None:
        assert not supervised.any() and prompt.summary_index is None
    else:
        answer = " ".join(response.split())
        expected = (f" {answer}" if answer else "") + " The perception result is"
        assert small.decode(prompt.input_ids[supervised].tolist()) == expected
        assert prompt.summary_index == len(prompt) - 2
