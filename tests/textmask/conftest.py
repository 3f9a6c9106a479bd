"""Tokenizers and a language model with random weights."""

import pytest


def byte_level(texts, size):
    """A byte-level tokenizer whose merges come from ``texts``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    inner.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>", pad_token="<|end|>")


TEXTS = [
    "<ref>cat</ref><box>[[1 1 5 4]]</box><seg>bg1fg2bg1\nfg4</seg> others *12| cat *3\n others *8",
    "No object in the image matches the request. a dog left of the cat",
] * 20


@pytest.fixture(scope="session")
def plain_tokenizer():
    """Nothing is a token of its own; pieces of the formats join."""
    return byte_level(TEXTS, 330)


@pytest.fixture(scope="session")
def brick_tokenizer():
    """Tags and bricks are tokens."""
    from mvplm.textmask import add_mask_tokens

    tokenizer = byte_level(TEXTS, 330)
    assert add_mask_tokens(tokenizer) == 132 and add_mask_tokens(tokenizer) == 0
    return tokenizer


@pytest.fixture(scope="session")
def gpt2_tokenizer(shared_data):
    """The tokenizer of GPT-2 with tags and bricks."""
    from transformers import GPT2TokenizerFast

    from mvplm.textmask import add_mask_tokens

    folder = shared_data / "gpt2_bpe"
    tokenizer = GPT2TokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    add_mask_tokens(tokenizer)
    return tokenizer


@pytest.fixture(scope="session")
def tiny_model():
    """A function: a causal language model with random weights for a tokenizer."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    def build(tokenizer):
        torch.manual_seed(0)
        end = tokenizer.eos_token_id
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=768,
            n_embd=16,
            n_layer=1,
            n_head=2,
            bos_token_id=end,
            eos_token_id=end,
        )
        model = GPT2LMHeadModel(config).eval()
        # Random weights hardly prefer anything; larger ones do.
        model.transformer.wte.weight.data.mul_(20)
        return model

    return build
