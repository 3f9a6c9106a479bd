"""Constrained JSON answers: whatever a model prefers, the answer is one that is read as it stands."""

import json
import random

import pytest
import torch

from mvplm.config import qwen3vl_seg as settings
from mvplm.models.qwen3vl_seg import parse_boxes
from mvplm.models.small import small_tokenizer
from mvplm.prompts import box_masks
from mvplm.prompts.box_masks import MASK_TOKENS, answer_ids, format_boxes
from mvplm.prompts.plain import PlainTokenizer
from mvplm.textmask.processor import constrain_boxes

SIZE = (480, 640)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AddedToken

    answer = '[{"bbox_2d": [1, 2, 3, 4], "label": "the red star\'s", "mask": "x"}, {"bbox_2d": [5]}]'
    found = small_tokenizer([answer, "the star left of the ring", "猫 <mask_token>"] * 60, vocab_size=520)
    found.add_tokens([AddedToken(token, special=False, normalized=False) for token in MASK_TOKENS])
    return PlainTokenizer(found)


def drawn_answer(tokenizer, seed: int, *, budget: int = 400, sharp: float = 4.0, **options) -> list[int]:
    """Ids of an answer by random logits under the constraint, its end token last."""
    constraint = constrain_boxes(
        tokenizer.tokenizer, mask_tokens=MASK_TOKENS, ends=[0], max_new_tokens=budget, **options
    )
    grammar, generator = constraint.grammar, torch.Generator().manual_seed(seed)
    state, ids = grammar.start(), []
    while not grammar.is_final(state):
        scores = torch.randn(len(tokenizer), generator=generator) * sharp
        ids.append(int(constraint.mask_row(scores, state, written=len(ids)).argmax()))
        state = grammar.advance(state, ids[-1])
        assert state is not None
    return ids


@pytest.mark.parametrize("seed", range(16))
def test_random_logits_give_answers_that_need_no_repair(tokenizer, seed: int):
    budget = random.Random(seed).choice([3, 60, 150, 400])
    ids = drawn_answer(tokenizer, seed, budget=budget, most=3)
    assert len(ids) <= budget and ids[-1] == 0
    text = tokenizer.decode(ids[:-1])
    found = parse_boxes(text, size=SIZE)
    assert found.status in ("ok", "no_target") and not found.repairs
    assert found.status == "no_target" or text == json.dumps(json.loads(text), ensure_ascii=False)
    # Mask tokens are written by id, once per object.
    triple = [tokenizer.get_added_vocab()[token] for token in MASK_TOKENS]
    places = [place for place, token in enumerate(ids) if token == triple[1]]
    assert len(places) == len(found.boxes) <= 3
    assert all(ids[place - 1 : place + 2] == triple for place in places)


def test_both_statuses_and_several_objects_are_drawn(tokenizer):
    answers = [tokenizer.decode(drawn_answer(tokenizer, seed, most=3)[:-1]) for seed in range(24)]
    counts = {text.count("bbox_2d") for text in answers}
    assert {0, 1, 3} <= counts <= {0, 1, 2, 3}
    refused = [drawn_answer(tokenizer, seed, may_refuse=False, most=1) for seed in range(10)]
    assert all(tokenizer.decode(ids).count("bbox_2d") == 1 for ids in refused)


def test_labels_end_at_their_limit(tokenizer):
    constraint = constrain_boxes(tokenizer.tokenizer, mask_tokens=MASK_TOKENS, ends=[0], label_tokens=5)
    grammar, state = constraint.grammar, constraint.grammar.start()
    for token in tokenizer.encode('[{"bbox_2d": [1, 2, 3, 4], "label": "'):
        state = grammar.advance(state, token)
    one, blank = tokenizer.encode("z")[-1], tokenizer.encode(" ")[-1]
    assert tokenizer.decode([one, blank]) == "z "
    hollow = state
    for _ in range(4):
        hollow = grammar.advance(hollow, blank)
    assert one in grammar.allowed(hollow) and blank not in grammar.allowed(hollow)
    for _ in range(5):
        assert len(grammar.allowed(state)) > 100
        state = grammar.advance(state, one)
    assert all(tokenizer.decode([token]).startswith('"') for token in grammar.allowed(state).tolist())


def test_what_is_learned_is_inside_the_grammar(tokenizer):
    boxes = torch.tensor([[0.0, 0, 640, 480], [12.5, 3, 14, 400]])
    ids = answer_ids(format_boxes(boxes, ["the star", "猫's"], size=SIZE), tokenizer)
    constraint = constrain_boxes(tokenizer.tokenizer, mask_tokens=MASK_TOKENS, ends=[0])
    state = constraint.grammar.start()
    for token in [*ids, 0]:
        assert token in constraint.grammar.allowed(state)
        state = constraint.grammar.advance(state, token)
    assert constraint.grammar.is_final(state)
    # Everything from the mask's field on follows without a model.
    start = ids.index(tokenizer.get_added_vocab()["<mask_start>"])
    assert constraint.forced(ids[:start])[:3] == ids[start : start + 3]


@pytest.mark.parametrize("wrong", ['[{"bbox_2d": [5, 2, 5, ', '[{"bbox_2d": [5, 2, 6, 1]', '[{"bbox_2d": [1001', "[] "])
def test_wrong_orders_and_ranges_are_outside(tokenizer, wrong: str):
    constraint = constrain_boxes(tokenizer.tokenizer, mask_tokens=MASK_TOKENS, ends=[0])
    state = constraint.grammar.start()
    for token in tokenizer.encode(wrong):
        state = None if state is None else constraint.grammar.advance(state, token)
    assert state is None or not len(constraint.grammar.allowed(state))


def test_without_masks_no_mask_field(tokenizer):
    constraint = constrain_boxes(tokenizer.tokenizer, ends=[0])
    state = constraint.grammar.start()
    text = format_boxes(torch.tensor([[1.0, 2, 3, 4]]), ["it"], size=SIZE, masks=False)
    for token in [*tokenizer.encode(text), 0]:
        state = constraint.grammar.advance(state, token)
        assert state is not None
    with pytest.raises(ValueError, match="has no token '<mask_new>'"):
        constrain_boxes(tokenizer.tokenizer, mask_tokens=["<mask_new>"], ends=[0])


def test_the_configuration_knows_every_kind_of_question():
    assert settings.BOX_MASK_FORMS == box_masks.BOX_MASK_FORMS
