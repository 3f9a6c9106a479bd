"""The library xgrammar as back end: it allows what the built-in automaton accepts, and its answers are exact."""

import sys

import numpy as np
import pytest

from mvplm.textmask import constrain, generate_with_jumps, get_codec, score_answer

CASES = [
    ("isd_rrle", (4, 5), {"labels": ["cat", "a dog"]}),
    ("isd_rrle", (3, 4), {"labels": []}),
    ("isd_irle", (2, 5), {"labels": ["cat"]}),
    ("isd_full", (2, 3), {"labels": ["cat", "cow"]}),
    ("bsd_bricks", (9, 12), {"labels": ["cat"], "most": 2, "may_refuse": False}),
    ("canvas", (4, 4), {"most": 1, "may_refuse": False}),
    ("bsd_bricks", (3, 66), {"labels": ["cat"], "most": 1}),
]


@pytest.fixture
def needed():
    return pytest.importorskip("xgrammar", reason="xgrammar is not installed (pip install 'mvplm[text]')")


@pytest.mark.parametrize(("name", "grid", "options"), CASES)
def test_both_allow_the_same(name, grid, options, brick_tokenizer, needed):
    """The automaton leaves out shorter tokens along certain text, and accepts them."""
    codec = get_codec(name, grid=grid)
    theirs = constrain(codec, brick_tokenizer, backend="xgrammar", **options).grammar
    ours = constrain(codec, brick_tokenizer, backend="builtin", **options).grammar
    rng = np.random.default_rng(0)
    for _ in range(6):
        state, same, ids = theirs.start(), ours.start(), []
        while not theirs.is_final(state):
            allowed = theirs.allowed(state)
            accepted = [t for t in range(ours.vocabulary.size) if ours.advance(same, t) is not None]
            assert set(ours.allowed(same).tolist()) <= set(allowed.tolist()) <= set(accepted)
            # Tokens of free text end a random answer rarely: the certain ones are taken more often.
            short = allowed if len(allowed) < 200 else ours.allowed(same)[-140:]
            ids.append(int(rng.choice(short)))
            state, same = theirs.advance(state, ids[-1]), ours.advance(same, ids[-1])
            assert state is not None and same is not None
        assert ours.is_final(same)
        result = codec.decode_ids(ids, codec.grid, tokenizer=brick_tokenizer)
        assert result.status in ("ok", "no_target") and not result.repairs


def test_jumping_ahead_works_with_it(brick_tokenizer, tiny_model, needed):
    import torch

    codec, model, prompt = get_codec("bsd_bricks", grid=6), tiny_model(brick_tokenizer), torch.tensor([[5, 6, 7]])
    options = {"labels": ["cat"], "most": 1, "may_refuse": False}
    ids = []
    for backend in ("builtin", "xgrammar"):
        constraint = constrain(codec, brick_tokenizer, backend=backend, **options)
        ids.append(generate_with_jumps(model, prompt, constraint=constraint, max_new_tokens=200).ids)
    assert ids[0] == ids[1]
    with pytest.raises(ValueError, match="builtin"):
        score_answer(constraint.grammar, ids[1], log_probs=[0.0] * len(ids[1]))


def test_what_it_cannot_do_is_said(brick_tokenizer, plain_tokenizer, needed):
    for codec, tokenizer, options, message in (
        ("bsd", brick_tokenizer, {}, "plain text"),
        ("bsd_bricks", plain_tokenizer, {}, "bricks that are tokens"),
        ("bsd_bricks", brick_tokenizer, {"max_new_tokens": 4000}, "cannot keep max_new_tokens"),
        ("isd_irle", brick_tokenizer, {"labels": ["a"] * 3 + ["b", "c", "d"]}, "too many"),
    ):
        with pytest.raises(ValueError, match=message):
            constrain(get_codec(codec), tokenizer, backend="xgrammar", **options)


def test_without_the_library_the_extra_is_named(brick_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    with pytest.raises(ModuleNotFoundError, match=r"mvplm\[text\]"):
        constrain(get_codec("canvas"), brick_tokenizer, backend="xgrammar")
