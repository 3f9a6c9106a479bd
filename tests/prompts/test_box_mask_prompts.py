"""Questions, labels and answers of models that write boxes."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mvplm.models.small import small_tokenizer
from mvplm.prompts.box_masks import (
    BOX_MASK_FORMS,
    FORM_OF_TASK,
    MASK_TOKENS,
    answer_ids,
    answer_order,
    box_question,
    clean_label,
    format_boxes,
    thousandths,
)
from mvplm.prompts.plain import PlainTokenizer


def test_the_wording_of_every_form():
    assert box_question("category", classes=["dog", "wall  lamp"]) == (
        'Locate and segment every instance that belongs to the following categories "dog, wall lamp", '
        "report bbox coordinates and masks in JSON format."
    )
    assert box_question("general", text="the dog") == (
        'Locate and segment every object that matches the description "the dog", report bbox coordinates and masks in '
        "JSON format. If there is none, return an empty list."
    )
    assert box_question("rec", text='the "big" dog') == (
        "Locate and segment the object that matches the description \"the 'big' dog\", report bbox coordinates in JSON "
        "format."
    )
    # Free questions keep their words, braces are text.
    assert box_question("reason", text='Who says "{classes}"?').startswith('Who says "{classes}"? Locate and segment')
    assert box_question("vqa", text="What is  it?") == "What is it?"
    assert set(FORM_OF_TASK.values()) <= set(BOX_MASK_FORMS)
    with pytest.raises(ValueError, match="did you mean 'general'"):
        box_question("genral", text="x")
    for form, wrong in (("category", {}), ("general", {"text": " "})):
        with pytest.raises(ValueError, match="needs"):
            box_question(form, **wrong)


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("dog", "dog", {}),
        ("  a \n dog ", "a dog", {"normalised": 1}),
        ("e\u0301", "é", {"normalised": 1}),
        ('the "x" \\ <b>', "the 'x' / b", {"replaced": 1}),
        ("a\x00b", "ab", {"replaced": 1}),
        ("<mask_token>", "mask_token", {"replaced": 1}),
    ],
)
def test_labels_are_cleaned_and_counted(text: str, expected: str, counts: dict):
    counted = Counter()
    assert clean_label(text, counted) == expected
    assert +counted == counts
    assert clean_label(expected) == expected


def test_labels_of_nothing_are_refused():
    with pytest.raises(ValueError, match="must not be empty"):
        clean_label("<>")


@given(st.text(max_size=30))
def test_no_cleaned_label_can_leave_its_quotes(text: str):
    try:
        label = clean_label(text)
    except ValueError:
        return
    assert not set(label) & set('"\\<>\n\t') and label == label.strip()
    answer = format_boxes(torch.tensor([[1.0, 1, 2, 2]]), [label], size=(4, 4), masks=False)
    assert answer == f'[{{"bbox_2d": [250, 250, 500, 500], "label": "{label}"}}]'


def test_coordinates_of_the_worked_samples():
    """A dog in columns 134-569 and rows 22-249 of 640 x 480; an object on 9 x 7 pixels."""
    assert thousandths(torch.tensor([[134.0, 22, 570, 250]]), (480, 640)).tolist() == [[209, 45, 891, 521]]
    assert thousandths(torch.tensor([[3.0, 2, 8, 5]]), (7, 9)).tolist() == [[333, 285, 889, 715]]


def test_the_order_of_an_answer_is_that_of_labels_then_columns_then_rows():
    boxes = torch.tensor([[5.0, 1, 9, 9], [5, 0, 9, 9], [0, 7, 9, 9], [1, 0, 9, 9]])
    assert answer_order(boxes, [0, 0, 1, 0]) == [3, 1, 0, 2]
    places = list(range(4))
    random.Random(0).shuffle(places)
    shuffled = answer_order(boxes[places], [[0, 0, 1, 0][place] for place in places])
    assert [places[place] for place in shuffled] == [3, 1, 0, 2]


def test_mask_tokens_are_ids_and_nothing_else_becomes_one():
    from transformers import AddedToken

    plain = small_tokenizer(["[bbox_2d label mask star"] * 50, vocab_size=400)
    with pytest.raises(ValueError, match="has no <mask_start>"):
        answer_ids("[]", PlainTokenizer(plain))
    plain.add_tokens([AddedToken(token, special=False, normalized=False) for token in MASK_TOKENS])
    tokenizer = PlainTokenizer(plain)
    text = format_boxes(torch.tensor([[1.0, 1, 2, 2]] * 2), ["a star", "<mask_token>"], size=(4, 4))
    ids = answer_ids(text, tokenizer)
    assert tokenizer.decode(ids) == text
    triple = [tokenizer.get_added_vocab()[token] for token in MASK_TOKENS]
    assert [token for token in ids if token in triple] == triple * 2
