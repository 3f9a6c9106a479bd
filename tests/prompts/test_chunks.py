"""Both orders of a prompt, and lists that are cut into several prompts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles.tiny import tiny_tokenizer

from mvplm.prompts import Conversation, PromptLayout, fixed_length, render, render_lists, render_question
from mvplm.prompts.chunks import chunk_sizes
from mvplm.structures import RenderedPrompt

NAMES = ("star", "ring", "sky", "green circle", "sand", "the left ring", "red star")
V = 4


def ids_of(prompt: RenderedPrompt, name: int) -> list[int]:
    start, end = prompt.name_spans[name].tolist()
    return prompt.input_ids[start:end].tolist()


def test_a_vocabulary_of_1203_names_makes_four_parts():
    costs = [3] * 1203
    costs[:205] = [4] * 205
    assert sum(costs) == 3814
    assert chunk_sizes(costs, budget=1714, most=320) == [301, 301, 301, 300]
    assert chunk_sizes(costs, budget=1714, most=2000) == [401, 401, 401]
    assert chunk_sizes(costs[:320], budget=1522, most=320) == [320]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(9, 60), st.integers(1, 20))
def test_parts_are_equal_fit_and_are_as_few_as_possible(costs: list[int], budget: int, most: int):
    sizes = chunk_sizes(costs, budget=budget, most=most)
    assert sum(sizes) == len(costs) and max(sizes) - min(sizes) <= 1 and max(sizes) <= most
    places = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    assert all(sum(costs[a:b]) <= budget for a, b in zip(places, places[1:], strict=False))
    for fewer in range(1, len(sizes)):
        base, more = divmod(len(costs), fewer)
        tried = [base + (i < more) for i in range(fewer)]
        ends = [sum(tried[:i]) for i in range(fewer + 1)]
        assert max(tried) > most or any(sum(costs[a:b]) > budget for a, b in zip(ends, ends[1:], strict=False))


def test_a_name_longer_than_a_list_is_refused():
    with pytest.raises(ValueError, match="a name of 7 tokens does not fit into a list of 6"):
        chunk_sizes([1, 7], budget=6, most=5)
    with pytest.raises(ValueError, match="max_names must be positive"):
        PromptLayout(max_names=0)
    with pytest.raises(ValueError, match="unknown prompt order 'image_fist'; did you mean 'image_first'"):
        PromptLayout("image_fist")


@pytest.mark.parametrize("family", ["word", "sentence"])
def test_the_other_order_says_the_same_in_another_order(family: str):
    conversation = Conversation(family, NAMES if family == "word" else NAMES[3:4], response="A ring.")
    prompts = [
        render(conversation, tiny_tokenizer(), num_image_tokens=V, order=order)
        for order in ("image_first", "instruction_first")
    ]
    first, other = prompts
    assert len(first) == len(other) and sorted(first.input_ids.tolist()) == sorted(other.input_ids.tolist())
    assert [ids_of(first, k) for k in range(len(first.name_spans))] == [
        ids_of(other, k) for k in range(len(other.name_spans))
    ]
    assert int(first.name_spans.min()) > first.image_span[1] - 1
    assert int(other.name_spans.max()) < other.image_span[0] and other.image_span[1] - other.image_span[0] == V
    assert (other.input_ids[slice(*other.image_span)] == tiny_tokenizer().pad_id).all()
    answer = (first.labels >= 0).sum()
    assert first.labels[-answer:].equal(other.labels[-answer:]) and first.summary_index == other.summary_index
    assert (first.aside, other.aside) == (False, family == "word")


def test_a_prompt_without_its_list_is_the_same_prompt_with_the_list_cut_out():
    tokenizer = tiny_tokenizer()
    options = {"num_image_tokens": V, "order": "instruction_first"}
    whole = render(Conversation("word", NAMES, response=""), tokenizer, **options)
    (stem,) = render_question(
        Conversation("word", NAMES, response=""),
        tokenizer,
        num_image_tokens=V,
        layout=PromptLayout("instruction_first"),
    )
    start, end = whole.list_span
    assert torch.cat([whole.input_ids[:start], whole.input_ids[end:]]).equal(stem.input_ids)
    assert stem.name_spans.tolist() == [[0, 0]] * len(NAMES) and stem.list_span is None and not stem.aside
    (alone,) = render_lists(
        Conversation("word", NAMES), tokenizer, layout=PromptLayout("instruction_first"), max_length=512
    )
    assert alone.input_ids.equal(whole.input_ids[:end]) and alone.name_spans.equal(whole.name_spans)


@pytest.mark.parametrize("response", [None, ""])
def test_a_list_that_fits_is_the_ordinary_prompt(response: str | None):
    conversation = Conversation("word", NAMES, response=response)
    (prompt,) = render_question(conversation, tiny_tokenizer(), num_image_tokens=V)
    ordinary = render(conversation, tiny_tokenizer(), num_image_tokens=V)
    assert prompt.input_ids.equal(ordinary.input_ids) and prompt.name_spans.equal(ordinary.name_spans)


@pytest.mark.parametrize("with_object", [False, True])
def test_parts_of_a_list_start_alike_and_hold_every_name_once(with_object: bool):
    tokenizer = tiny_tokenizer()
    order = (6, 2, 0, 1, 3, 5, 4)
    conversation = Conversation("word", NAMES, order=order, response="", with_object=with_object)
    prompts = render_question(conversation, tokenizer, num_image_tokens=V, layout=PromptLayout(max_names=3))
    whole = render(conversation, tokenizer, num_image_tokens=V)
    assert len(prompts) == 3 and {prompt.list_span[0] for prompt in prompts} == {whole.list_span[0]}
    start = whole.list_span[0]
    assert all(prompt.input_ids[:start].equal(whole.input_ids[:start]) for prompt in prompts)
    there = torch.stack([prompt.name_spans[:, 1] > 0 for prompt in prompts])
    assert there.sum(0).tolist() == [1] * len(NAMES)
    assert there[0].nonzero().flatten().tolist() == sorted(order[:3])
    for number, prompt in enumerate(prompts):
        for place in there[number].nonzero().flatten().tolist():
            assert ids_of(prompt, place) == ids_of(whole, place)
    assert [prompt.object_span is not None for prompt in prompts] == [False, False, with_object]


def test_room_is_kept_for_a_response_that_is_still_to_be_written():
    tokenizer = tiny_tokenizer()
    fixed = fixed_length(tokenizer, num_image_tokens=V)
    needed = sum(len(tokenizer.encode(f" {name}")) + 1 for name in NAMES)
    for room, response, parts in ((15, None, 1), (16, None, 2), (16, "", 1)):
        prompts = render_question(
            Conversation("word", NAMES, response=response),
            tokenizer,
            num_image_tokens=V,
            max_length=fixed + needed + 15,
            layout=PromptLayout(response_room=room),
        )
        assert len(prompts) == parts, (room, response)


def test_the_word_for_anything_closes_the_list_once():
    tokenizer = tiny_tokenizer()
    plain = render(Conversation("word", ("ring", "star")), tokenizer, num_image_tokens=V)
    more = render(Conversation("word", ("ring", "star"), with_object=True), tokenizer, num_image_tokens=V)
    assert more.name_spans.equal(plain.name_spans) and plain.object_span is None
    start, end = more.object_span
    assert more.input_ids[start:end].tolist() == tokenizer.encode(" object") and start > int(plain.name_spans.max())
    named = render(Conversation("word", ("object",), with_object=True), tokenizer, num_image_tokens=V)
    assert named.name_spans.tolist() == [list(named.object_span)]
