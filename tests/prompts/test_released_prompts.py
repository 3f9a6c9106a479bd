"""Prompts in the wording of the public checkpoints, and the suffix and the name for no object in either wording."""

import json
import re

import pytest

from mvplm.prompts import (
    RELEASED_CONTROLS,
    Conversation,
    PromptStyle,
    PromptTokenizer,
    fixed_length,
    render,
    render_released,
    show_prompt,
)
from mvplm.prompts.released import longest_frame

STYLE = PromptStyle("released", suffix=True, no_object=True)
FRUIT = ("apple", "banana", "orange", "background")


@pytest.fixture(scope="module")
def released(gpt2) -> PromptTokenizer:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    definition = json.loads(gpt2.tokenizer.backend_tokenizer.to_str())
    definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] != "<PER>"]
    bare = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(definition)), eos_token="<|endoftext|>"
    )
    return PromptTokenizer(bare, controls=RELEASED_CONTROLS)


@pytest.fixture(scope="module")
def small_released(small) -> PromptTokenizer:
    return PromptTokenizer(small.tokenizer, controls=RELEASED_CONTROLS)


def words(names=FRUIT, **options) -> Conversation:
    return Conversation("word", names, no_object=True, **options)


def test_g21_coco_panoptic_list(released, shared_data):
    file = shared_data / "coco_mini" / "annotations" / "panoptic_val.json"
    if not file.is_file():
        pytest.skip(f"no COCO categories: {file} is absent")
    categories = json.loads(file.read_text())["categories"]
    names = tuple(re.sub("-(merged|other|stuff)", "", category["name"]) for category in categories)
    prompt = render_released(
        words((*names, "background"), response=""), released, style=STYLE, task="panoptic", num_image_tokens=256
    )
    assert len(prompt) == 989 and len(prompt.name_spans) == 133
    assert prompt.image_span == (56, 312) and prompt.summary_index is None
    # Before the image and the names take their places each of them is one position.
    spans = [*prompt.name_spans.tolist(), prompt.no_object_span]
    assert len(prompt) - 255 - sum(stop - start - 1 for start, stop in spans) == 494


def test_g21_referring_expression(released):
    prompt = render_released(
        Conversation("sentence", ("the left dog.",), response=""),
        released,
        style=STYLE,
        task="res",
        num_image_tokens=256,
    )
    assert len(prompt) == 348
    start, stop = prompt.name_spans[0].tolist()
    assert prompt.input_ids[start:stop].tolist() == [262, 1364, 3290, 13, released.suffix_id]
    assert prompt.no_object_span is None


def test_control_tokens_follow_the_vocabulary(released):
    assert (released.pad_id, released.suffix_id, released.summary_id) == (50257, 50258, -1)
    assert released.vocab_size == 50259 and released.end_id == 50256


def test_names_separators_and_answer(released):
    prompt = render_released(words(response=""), released, style=STYLE, task="panoptic", num_image_tokens=3)
    ids = prompt.input_ids.tolist()
    apple, banana = prompt.name_spans.tolist()[:2]
    assert ids[slice(*apple)] == [*released.encode("apple"), released.suffix_id]
    assert ids[apple[1] : banana[0]] == [11, 220]
    start, stop = prompt.no_object_span
    assert released.decode(ids[start:stop]) == "background" and ids[stop - 1] == released.suffix_id
    supervised = (prompt.labels >= 0).nonzero().flatten().tolist()
    assert released.decode(ids[: supervised[0]]).endswith("background.\n [/INST]")
    assert ids[supervised[0]] == 220 and ids[-2:] == [220, released.end_id]
    start, stop = prompt.zero_span
    assert stop - start == 1 and start not in supervised and supervised[-3:] == [start - 1, stop, stop + 1]
    assert released.decode(ids[supervised[0] :]) == " \nSure, the segmentation result is  "


@pytest.mark.parametrize(
    ("task", "training", "response", "question", "answer", "zeros"),
    [
        ("panoptic", True, "There exists apple.", "do Panoptic Segmentation.", "segmentation result is . There ex", 1),
        ("semantic", False, "", "Please do Panoptic Segmentation.", "segmentation result is  ", 1),
        (
            "detection",
            True,
            "There exists apple.",
            "Instance Detection (locate all",
            "detection result is . There",
            100,
        ),
        ("detection", False, "", "Instance Segmentation (segment all", "segmentation result is  ", 1),
        ("grounding", True, "There exists apple.", "Visual Grounding (locate obj", "grounding result is There", 100),
        ("grounding", False, "", "candidate phrases: ", "grounding result is  ", 1),
    ],
)
def test_wording_of_lists(small_released, task, training, response, question, answer, zeros):
    prompt = render_released(
        words(response=response), small_released, style=STYLE, task=task, training=training, num_image_tokens=3
    )
    text = small_released.decode(prompt.input_ids.tolist())
    assert question in text and answer in text
    assert prompt.zero_span[1] - prompt.zero_span[0] == zeros
    framed = longest_frame(small_released) + 3
    assert fixed_length(small_released, num_image_tokens=3, style=STYLE) == framed
    names = sum(stop - start for start, stop in [*prompt.name_spans.tolist(), prompt.no_object_span]) + 3 * 2
    spoken = len(small_released.encode(response))
    assert len(prompt) <= framed + names + spoken


@pytest.mark.parametrize(
    ("task", "training", "style", "words_of_it"),
    [
        ("res", False, STYLE, "Please doing Referring"),
        ("gres", False, STYLE, "Please do Referring"),
        ("gres", True, STYLE, "Please doing Referring"),
        ("gres", False, PromptStyle("released", task="rec"), "Please doing Referring"),
    ],
)
def test_wording_of_sentences(small_released, task, training, style, words_of_it):
    prompt = render_released(
        Conversation("sentence", ("a red star",), response="A star."),
        small_released,
        style=style,
        task=task,
        training=training,
        num_image_tokens=3,
    )
    text = small_released.decode(prompt.input_ids.tolist())
    assert f"{words_of_it} Segmentation according to the following instruction:\n a red star. [/INST]" in text
    assert text.endswith("is . A star. ")


def test_order_and_shared_spans(small_released):
    straight = render_released(words(response=""), small_released, style=STYLE, task="panoptic", num_image_tokens=2)
    turned = render_released(
        words(order=(3, 2, 0, 1), response=""), small_released, style=STYLE, task="panoptic", num_image_tokens=2
    )
    assert turned.no_object_span[0] < turned.name_spans.min() and len(turned) == len(straight)
    for first, second in zip(straight.name_spans.tolist(), turned.name_spans.tolist(), strict=True):
        assert straight.input_ids[slice(*first)].equal(turned.input_ids[slice(*second)])


def test_suffix_and_name_for_no_object_in_the_papers_wording(small):
    tokenizer = PromptTokenizer(small.tokenizer, controls=("<PER>", "[SEG]"))
    style = PromptStyle(suffix=True, no_object=True)
    plain = render(Conversation("word", ("star", "circle"), response=""), tokenizer, num_image_tokens=2)
    prompt = render(
        Conversation("word", ("star", "circle", "background"), no_object=True, response=""),
        tokenizer,
        num_image_tokens=2,
        style=style,
    )
    assert len(prompt.name_spans) == 2 and prompt.summary_index == len(prompt) - 2
    for (start, stop), (first, last) in zip(plain.name_spans.tolist(), prompt.name_spans.tolist(), strict=True):
        assert prompt.input_ids[first:last].tolist() == [*plain.input_ids[start:stop].tolist(), tokenizer.suffix_id]
    start, stop = prompt.no_object_span
    assert tokenizer.decode(prompt.input_ids[start:stop].tolist()) == " background"
    assert style.name_cost == 2 and STYLE.name_cost == 3 and PromptStyle().name_cost == 1


def test_what_cannot_be_written(small_released):
    with pytest.raises(ValueError, match="'background' stands for no object and cannot be asked for"):
        Conversation("word", ("background", "dog", "background"), no_object=True)
    with pytest.raises(ValueError, match="at least one other name"):
        Conversation("word", ("background",), no_object=True)
    with pytest.raises(ValueError, match="no family 'caption'"):
        render_released(Conversation("caption"), small_released, style=STYLE, task="res", num_image_tokens=2)
    with pytest.raises(ValueError, match="unknown task of the released prompts 'panoptik'"):
        render_released(words(), small_released, style=STYLE, task="panoptik", num_image_tokens=2)
    with pytest.raises(ValueError, match="4 names.*holds 20"):
        render_released(words(), small_released, style=STYLE, task="panoptic", num_image_tokens=2, max_length=20)
    with pytest.raises(ValueError, match="unknown prompt templates 'release'; did you mean 'released'"):
        PromptStyle("release")


def test_controls_are_stored_and_never_text(small_released, small, tmp_path):
    small_released.save_pretrained(tmp_path)
    loaded = PromptTokenizer.from_pretrained(tmp_path)
    assert loaded.describe() == small_released.describe() and loaded.suffix_id == small_released.suffix_id
    assert loaded.hash() != small.hash() and loaded.summary_id == -1
    for text in ("[SEG]", "[PAD]", "a [SEG] b"):
        ids = loaded.encode(text)
        assert not {loaded.suffix_id, loaded.pad_id} & set(ids) and loaded.decode(ids) == text
    assert not {loaded.suffix_id, loaded.pad_id} & set(loaded.allowed_ids)
    with pytest.raises(ValueError, match="unknown control token '<SEG>'"):
        PromptTokenizer(small.tokenizer, controls=("<SEG>",))


def test_the_view_names_controls_and_zeros(small_released):
    prompt = render_released(words(response=""), small_released, style=STYLE, task="instance", num_image_tokens=2)
    text = show_prompt(prompt, small_released).plain
    assert text.count("[SEG]") == 4 and text.count("[zeros]") == 1 and "[end]" in text
