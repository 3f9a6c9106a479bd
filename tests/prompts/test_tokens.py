"""The prompt tokenizer: ids, round trips, files, and text that looks like control tokens."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvplm.prompts import SUMMARY_TOKEN, PromptTokenizer, template_texts, train_scenes_tokenizer
from mvplm.prompts.tokens import IDS_FILE

TEXTS = ["a red star on sand", "two blue circles left of the red star"]


def test_summary_token_takes_the_next_free_id(gpt2):
    assert (gpt2.summary_id, gpt2.end_id, gpt2.pad_id, gpt2.vocab_size) == (50257, 50256, 50256, 50258)


def test_wrapping_leaves_the_given_tokenizer_alone_and_is_idempotent(small):
    from transformers import PreTrainedTokenizerFast

    bare = json.loads(small.tokenizer.backend_tokenizer.to_str())
    bare["added_tokens"] = [token for token in bare["added_tokens"] if token["content"] != SUMMARY_TOKEN]
    from tokenizers import Tokenizer

    given_one = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(bare)), eos_token=small.tokenizer.eos_token
    )
    size = len(given_one)
    wrapped = PromptTokenizer(given_one)
    assert len(given_one) == size and wrapped.vocab_size == size + 1
    assert PromptTokenizer(wrapped.tokenizer).hash() == wrapped.hash() == small.hash()


def test_a_tokenizer_without_an_end_is_refused(small):
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(ValueError, match="no end-of-text token"):
        PromptTokenizer(PreTrainedTokenizerFast(tokenizer_object=small.tokenizer.backend_tokenizer))
    with pytest.raises(ValueError, match="a fast tokenizer is needed, got object"):
        PromptTokenizer(object())


@given(text=st.text(max_size=30))
def test_any_text_survives_and_stays_text(small, text):
    ids = small.encode(text)
    assert small.decode(ids) == text
    assert not {small.summary_id, small.end_id} & set(ids)


@pytest.mark.parametrize("text", ["<PER>", "<|endoftext|>", "x<PER>", "<PER><PER> <|endoftext|>"])
def test_control_tokens_in_text_are_spelled_out(gpt2, small, text):
    for tokenizer in (gpt2, small):
        ids = tokenizer.encode(text)
        assert len(ids) >= 3 and not {tokenizer.summary_id, tokenizer.end_id} & set(ids)
        assert tokenizer.decode([*ids, tokenizer.summary_id, tokenizer.end_id]) == text


def test_broken_unicode_is_refused(small):
    with pytest.raises(ValueError, match="not valid Unicode"):
        small.encode("dog \ud800")


def test_training_is_repeatable_and_respects_the_size(small):
    first = train_scenes_tokenizer(TEXTS, vocab_size=600)
    second = train_scenes_tokenizer(iter(TEXTS), vocab_size=600)
    assert first.hash() == second.hash() != small.hash()
    assert first.vocab_size <= 600 and first.summary_id == first.vocab_size - 1
    with pytest.raises(ValueError, match="at least 258"):
        train_scenes_tokenizer(TEXTS, vocab_size=200)


def test_template_words_are_single_tokens_whatever_the_texts(gpt2):
    texts = [f"{a}{b}{c}zz" for a in "qwrtpsdf" for b in "aeiou" for c in "ghjklmn"] * 3
    trained = train_scenes_tokenizer(texts, vocab_size=800)
    for template in template_texts():
        assert len(trained.encode(template)) <= len(gpt2.encode(template))


def test_directory_form_round_trips_and_is_checked(small, tmp_path):
    small.save_pretrained(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    loaded = PromptTokenizer.from_pretrained(folder)
    assert loaded.describe() == small.describe()
    assert loaded.encode("a red star 🐶") == small.encode("a red star 🐶")
    stored = json.loads((folder / IDS_FILE).read_text())
    (folder / IDS_FILE).write_text(json.dumps({**stored, "sha256": "0" * 64, "summary_id": 7}))
    with pytest.raises(ValueError, match="summary_id: expected 7, got .*sha256: expected"):
        PromptTokenizer.from_pretrained(folder)


def test_a_plain_transformers_directory_loads(small, tmp_path):
    small.tokenizer.save_pretrained(tmp_path)
    assert PromptTokenizer.from_pretrained(tmp_path).hash() == small.hash()


def test_workers_can_have_it(small):
    copy = pickle.loads(pickle.dumps(small))
    assert copy.hash() == small.hash() and copy.encode("red star") == small.encode("red star")


def test_generation_may_use_text_summary_and_end_only(small):
    from tokenizers import AddedToken

    assert small.allowed_ids == tuple(range(small.vocab_size))
    richer = PromptTokenizer(small.tokenizer)
    richer.tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<tool>")]})
    richer = PromptTokenizer(richer.tokenizer)
    tool = richer.tokenizer.convert_tokens_to_ids("<tool>")
    assert richer.vocab_size == small.vocab_size + 1 and tool == small.vocab_size
    assert set(small.allowed_ids) == set(richer.allowed_ids)
    assert tool not in richer.encode("<tool>")
