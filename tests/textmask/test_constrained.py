"""Whatever a model prefers, its answer is one that the codec writes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mvplm.models.small import small_tokenizer
from mvplm.textmask import add_mask_tokens, constrain, generate_with_jumps, get_codec, score_answer
from mvplm.textmask.bricks import LENGTH
from mvplm.textmask.confidence import brick_scores

LABELS = ["cat", "cat on a mat", "a dog"]
CASES = [
    ("bsd_bricks", {}, {}),
    ("bsd_bricks", {"labels": LABELS, "may_refuse": False}, {}),
    ("bsd_bricks", {"most": 2}, {"roi": True, "row_sep": ""}),
    ("canvas", {"labels": LABELS}, {}),
    ("bsd_bricks", {"preamble": True}, {}),
    ("canvas", {"preamble": True, "may_refuse": False, "labels": LABELS}, {}),
    ("canvas", {"labels": LABELS}, {"bins": 24, "row_sep": "\n", "whole_numbers": True}),
    ("bsd", {"labels": LABELS}, {}),
    ("isd_rrle", {"labels": LABELS}, {}),
    ("isd_rrle", {"labels": ["cat"]}, {"lead_in": "Here it is."}),
    ("isd_irle", {"labels": LABELS}, {}),
    ("isd_irle", {"labels": []}, {}),
    ("isd_full", {"labels": LABELS}, {}),
]


def walk(grammar, rng, budget=None):
    """Random tokens of an answer; a few are drawn evenly, the others rarely end anything."""
    state, ids = grammar.start(), []
    while not grammar.is_final(state):
        allowed = grammar.allowed(state, None if budget is None else budget - len(ids))
        assert len(allowed) and (np.diff(allowed) > 0).all()
        ids.append(int(allowed[rng.integers(len(allowed))]))
        state = grammar.advance(state, ids[-1])
        assert state is not None and (budget is None or len(ids) + grammar.min_finish(state) <= budget)
    return ids


def is_exact(codec, tokenizer, ids, *, size=(8, 8)):
    """The answer parses without any repair, and every mask fills its box."""
    result = codec.decode_ids(ids, size, tokenizer=tokenizer)
    text = tokenizer.decode(ids)
    assert result.status in ("ok", "no_target") and not result.repairs, text
    for part in result.answer.instances:
        if part.box is not None:
            x1, y1, x2, y2 = part.box
            assert x1 < x2 and y1 < y2
            assert part.grid.shape == (codec.grid if codec.name == "canvas" else (y2 - y1, x2 - x1))
    return result


@pytest.mark.parametrize("kind", ["brick", "plain"])
@pytest.mark.parametrize(("name", "options", "settings"), CASES)
def test_random_walks_end_in_exact_answers(kind, name, options, settings, request):
    tokenizer = request.getfixturevalue(f"{kind}_tokenizer")
    codec = get_codec(name, grid=(5, 8), **settings)
    grammar = constrain(codec, tokenizer, **{"most": 3, **options}).grammar
    least = grammar.min_finish(grammar.start())
    rng = np.random.default_rng(0)
    for turn in range(12):
        is_exact(codec, tokenizer, walk(grammar, rng, budget=[least, least + 9, least + 300][turn % 3]))


@pytest.mark.parametrize(("name", "options", "settings"), [CASES[0], CASES[3], CASES[4], CASES[8]])
def test_random_walks_with_a_large_vocabulary(name, options, settings, gpt2_tokenizer):
    codec = get_codec(name, grid=16, **settings)
    grammar = constrain(codec, gpt2_tokenizer, **options).grammar
    rng = np.random.default_rng(0)
    for _ in range(3):
        result = is_exact(codec, gpt2_tokenizer, walk(grammar, rng, budget=600))
        assert result.answer.raw_ids


@pytest.mark.parametrize("preamble", [False, True])
def test_text_of_spaces_alone_is_not_allowed_however_much_a_model_likes_them(preamble, brick_tokenizer):
    grammar = constrain(get_codec("bsd_bricks", grid=2), brick_tokenizer, most=1, preamble=preamble).grammar
    blank = int(grammar.vocabulary.blank[0])
    state, ids = grammar.start(), []
    while not grammar.is_final(state):
        allowed = grammar.allowed(state)
        ids.append(blank if blank in allowed else int(allowed[-1]))
        state = grammar.advance(state, ids[-1])
    # All but the last token of each free text, and three in the box.
    assert ids.count(blank) == 95 * preamble + 63 + 3
    is_exact(get_codec("bsd_bricks", grid=2), brick_tokenizer, ids)


def test_a_preamble_is_read_back(brick_tokenizer):
    codec = get_codec("bsd_bricks", grid=4)
    grammar = constrain(codec, brick_tokenizer, labels=["cat"], preamble=True).grammar
    for text in (
        codec.encode(np.eye(4, dtype=bool)[None], ["cat"], preamble="It sits."),
        "None.\n" + codec.encode(np.zeros((0, 4, 4), bool), []),
    ):
        state = grammar.start()
        ids = [*brick_tokenizer.encode(text, add_special_tokens=False), brick_tokenizer.eos_token_id]
        for token in ids:
            state = grammar.advance(state, token)
            assert state is not None, text
        assert grammar.is_final(state) and is_exact(codec, brick_tokenizer, ids).answer.preamble in (
            "It sits.",
            "None.",
        )


def test_any_size_of_box_is_filled(brick_tokenizer):
    grammar = constrain(get_codec("bsd_bricks"), brick_tokenizer, labels=["x"], may_refuse=False, most=1).grammar
    rng = np.random.default_rng(0)
    for _ in range(15):
        state, cells = grammar.start(), 0
        while not grammar.is_final(state):
            before = grammar.grammar.cells_left(state.inner)
            token = int(rng.choice(grammar.allowed(state)))
            state = grammar.advance(state, token)
            code = grammar.vocabulary.code_of.get(token, 126)
            if state.inner[0] == "run" and before is None:
                cells = grammar.grammar.cells_left(state.inner)
            cells -= LENGTH[code] if code < 126 else 0
        assert cells == 0


def test_allowed_tokens_are_exactly_those_that_stay_inside(plain_tokenizer):
    """Against trying every token of the vocabulary; shorter tokens along certain text are left out on purpose."""
    codec = get_codec("isd_rrle", grid=4)
    grammar = constrain(codec, plain_tokenizer, labels=["cat", "cow"]).grammar
    rng, state = np.random.default_rng(0), grammar.start()
    while not grammar.is_final(state):
        allowed = set(grammar.allowed(state).tolist())
        possible = {token for token in range(len(plain_tokenizer)) if grammar.advance(state, token) is not None}
        assert allowed <= possible
        texts = {token: grammar.vocabulary.bytes_of.get(token, b"") for token in possible}
        for left_out in possible - allowed:
            longer = [
                t for t in allowed if texts[t].startswith(texts[left_out]) and len(texts[t]) > len(texts[left_out])
            ]
            assert longer or grammar.grammar.number(state.inner) or b"*" in texts[left_out]
        state = grammar.advance(state, int(rng.choice(sorted(allowed))))


def test_pieces_of_the_format_may_join_in_one_token(plain_tokenizer):
    codec = get_codec("isd_rrle", grid=8)
    grammar = constrain(codec, plain_tokenizer, labels=["cat"]).grammar
    text = codec.encode(np.eye(8, dtype=bool)[None], ["cat"])
    state = grammar.start()
    ids = plain_tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) < len(text) / 2
    for token in ids:
        assert token in grammar.allowed(state), plain_tokenizer.decode([token])
        state = grammar.advance(state, token)
    assert state is not None and grammar.forced(state) == [plain_tokenizer.eos_token_id]


@pytest.mark.parametrize(
    "how", [{"do_sample": False}, {"do_sample": True}, {"num_beams": 3}, {"do_sample": True, "top_k": 2}]
)
@pytest.mark.parametrize(("name", "options"), [("bsd_bricks", {}), ("canvas", {}), ("isd_rrle", {"labels": ["cat"]})])
def test_generate_in_batches(how, name, options, brick_tokenizer, tiny_model):
    codec = get_codec(name, grid=4)
    model = tiny_model(brick_tokenizer)
    constraint = constrain(codec, brick_tokenizer, max_new_tokens=120, most=2, **options)
    prompts = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    torch.manual_seed(0)
    for turn in range(2):
        out = model.generate(
            prompts + turn,
            attention_mask=torch.ones_like(prompts),
            logits_processor=[constraint],
            max_new_tokens=120,
            pad_token_id=brick_tokenizer.eos_token_id,
            **how,
        )
        for row in out[:, 3:].tolist():
            assert row[-1] == brick_tokenizer.eos_token_id or len(row) == 120
            is_exact(codec, brick_tokenizer, row)


@pytest.mark.parametrize(
    ("name", "options"), [("bsd_bricks", {"labels": ["cat"]}), ("canvas", {}), ("isd_rrle", {"labels": ["cat"]})]
)
def test_jumping_ahead_gives_the_tokens_of_generate(name, options, brick_tokenizer, tiny_model):
    codec = get_codec(name, grid=6)
    model = tiny_model(brick_tokenizer)
    constraint = constrain(codec, brick_tokenizer, max_new_tokens=150, most=1, may_refuse=False, **options)
    prompt = torch.tensor([[5, 6, 7]])
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        logits_processor=[constraint],
        max_new_tokens=150,
        do_sample=False,
    )
    jumped = generate_with_jumps(model, prompt, constraint=constraint, max_new_tokens=150)
    assert jumped.ids == out[0, 3:].tolist() and jumped.forwards < len(jumped.ids)
    assert len(jumped.log_probs) == len(jumped.ids) and (jumped.log_probs <= 0).all()
    scores = (
        score_answer(constraint.grammar, jumped.ids, log_probs=jumped.log_probs.tolist()) if name != "isd_rrle" else []
    )
    for one in scores:
        assert 0 < one.mask_score <= 1 and 0 < one.box_score <= 1 and one.score == one.mask_score * one.box_score
    sampled = generate_with_jumps(model, prompt, constraint=constraint, max_new_tokens=150, do_sample=True)
    is_exact(codec, brick_tokenizer, sampled.ids)


def test_forced_tokens_run_up_to_the_next_choice(brick_tokenizer):
    codec = get_codec("bsd_bricks", grid=8)
    constraint = constrain(codec, brick_tokenizer, labels=["cat"], may_refuse=False, most=1)
    head = constraint.forced([])
    assert brick_tokenizer.decode(head) == "<ref>cat</ref><box>[["
    box = codec.encode_ids(np.ones((1, 8, 8), bool), ["cat"], tokenizer=brick_tokenizer, box_only=True)
    after = box + constraint.forced(box)
    assert brick_tokenizer.decode(after[-1:]) == "<seg>"
    with pytest.raises(ValueError, match="not the beginning of an answer"):
        constraint.forced([0, 0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_scores_of_any_kind(value, brick_tokenizer):
    constraint = constrain(get_codec("bsd_bricks", grid=8), brick_tokenizer)
    scores = constraint(torch.tensor([[1], [2]]), torch.full((2, len(brick_tokenizer)), value))
    allowed = constraint.grammar.allowed(constraint.grammar.start())
    assert torch.isfinite(scores[:, allowed]).all()
    assert torch.isinf(scores).sum() == 2 * (len(brick_tokenizer) - len(allowed))


def test_what_cannot_be_constrained(brick_tokenizer, plain_tokenizer):
    codec = get_codec("bsd_bricks")
    with pytest.raises(ValueError, match="unknown backend 'xgramar'"):
        constrain(codec, brick_tokenizer, backend="xgramar")
    with pytest.raises(ValueError, match="max_new_tokens must be at least"):
        constrain(codec, brick_tokenizer, max_new_tokens=5)
    with pytest.raises(ValueError, match="needs labels"):
        constrain(get_codec("isd_rrle"), brick_tokenizer)
    with pytest.raises(ValueError, match="call mvplm.textmask.add_mask_tokens"):
        codec.encode_ids(np.ones((1, 8, 8), bool), ["x"], tokenizer=plain_tokenizer)


@pytest.mark.parametrize("name", ["bsd_bricks", "canvas", "bsd", "isd_rrle"])
def test_ids_there_and_back(name, brick_tokenizer):
    codec = get_codec(name, grid=16)
    masks = np.zeros((2, 16, 16), bool)
    masks[0, 2:9, 3:12], masks[1, 10:, :4] = True, True
    ids = codec.encode_ids(masks, ["a cat", "été"], tokenizer=brick_tokenizer)
    assert brick_tokenizer.decode(ids) == codec.encode(masks, ["a cat", "été"])
    result = codec.decode_ids([*ids, brick_tokenizer.eos_token_id], (16, 16), tokenizer=brick_tokenizer)
    assert result.status == "ok" and result.labels == ["a cat", "été"] and np.array_equal(result.masks, masks)


def test_whole_numbers_are_one_token_each():
    tokenizer = small_tokenizer(
        ["a cat and start end of name box mask foreground background"] * 40, vocab_size=400, numbers=24
    )
    add_mask_tokens(tokenizer)
    codec = get_codec("canvas", grid=6, bins=24, row_sep="\n", whole_numbers=True)
    masks = np.zeros((1, 48, 48), bool)
    masks[0, 24:30, 2:43] = True
    ids = codec.encode_ids(masks, ["a cat"], tokenizer=tokenizer)
    words = tokenizer.convert_ids_to_tokens(ids)
    start, end = words.index("<box>"), words.index("</box>")
    assert [word for word in words[start:end] if word.isdigit()] == ["1", "12", "22", "15"]
    digits = replace(codec, whole_numbers=False).encode_ids(masks, ["a cat"], tokenizer=tokenizer)
    assert len(digits) == len(ids) + 3
    for spelled in (ids, digits):
        result = is_exact(codec, tokenizer, spelled, size=(48, 48))
        assert result.boxes.tolist() == [[2, 24, 44, 30]] and (result.masks[0] == masks[0]).mean() > 0.98
    grammar = constrain(codec, tokenizer, labels=["a cat"], most=1).grammar
    is_exact(codec, tokenizer, walk(grammar, np.random.default_rng(1)))
    state = grammar.start()
    for token in ids:
        assert token in grammar.allowed(state)
        state = grammar.advance(state, token)


def test_bricks_are_recognised_by_id_and_not_by_spelling(brick_tokenizer):
    codec = get_codec("bsd_bricks", grid=4)
    ids = codec.encode_ids(np.ones((1, 4, 4), bool), ["x"], tokenizer=brick_tokenizer)
    spelled = [token for letter in "<bg4>" for token in brick_tokenizer.encode(letter, add_special_tokens=False)]
    place = ids.index(brick_tokenizer.convert_tokens_to_ids("<seg>")) + 1
    result = codec.decode_ids([*ids[:place], *spelled, *ids[place:]], (4, 4), tokenizer=brick_tokenizer)
    assert (result.status, result.repairs) == ("repaired", {"junk": 5}) and result.masks.all()
    assert codec.decode_ids(ids, (4, 4), tokenizer=brick_tokenizer).status == "ok"


def test_any_ids_are_read(brick_tokenizer):
    rng = np.random.default_rng(0)
    for name in ("bsd_bricks", "canvas", "bsd", "isd_rrle"):
        codec = get_codec(name, grid=6)
        for _ in range(40):
            ids = rng.integers(-3, len(brick_tokenizer) + 9, rng.integers(0, 40)).tolist()
            result = codec.decode_ids(ids, (9, 9), tokenizer=brick_tokenizer)
            assert result.status in ("ok", "repaired", "truncated", "no_target", "unparsed", "invalid")


def test_confidence_of_three_bricks():
    scores = brick_scores(np.log([0.9, 0.8, 0.5]).tolist(), [3, 10, 20])
    assert scores.mask_score == pytest.approx(0.711379, abs=1e-6)
    assert scores.mask_score_area == pytest.approx(0.608178, abs=1e-6)
    assert brick_scores([], []).forced and brick_scores([], []).score == 1


def test_confidence_counts_only_tokens_with_a_choice(brick_tokenizer):
    codec = get_codec("bsd_bricks", grid=4)
    grammar = constrain(codec, brick_tokenizer, labels=["x"], may_refuse=False, most=1).grammar
    mask = np.zeros((1, 4, 4), bool)
    mask[0, :2, :2], mask[0, 0, 0] = True, False
    ids = [*codec.encode_ids(mask, ["x"], tokenizer=brick_tokenizer), brick_tokenizer.eos_token_id]
    (score,) = score_answer(grammar, ids, log_probs=[float(np.log(0.5))] * len(ids))
    assert score.mask_score == pytest.approx(0.5) and score.label_score == 1 and score.box_score == pytest.approx(0.5)
    assert score.row_minima == pytest.approx([0.5, 0.5])
    with pytest.raises(ValueError, match="leaves the grammar"):
        score_answer(grammar, ids[::-1], log_probs=[0.0] * len(ids))


def test_new_tokens_are_ordinary_ones(brick_tokenizer):
    ids = brick_tokenizer.encode("<fg3>", add_special_tokens=False)
    assert len(ids) == 1 and brick_tokenizer.decode(ids, skip_special_tokens=True) == "<fg3>"
    assert add_mask_tokens(brick_tokenizer) == 0
