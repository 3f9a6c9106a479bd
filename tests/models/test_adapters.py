"""Adapters of the language model: they start as nothing, learn with the rows of new tokens, and load again."""

import pytest
import torch
from oracles.tiny import SETTINGS, build_tiny, tiny_config, tiny_tokenizer

from mvplm.build import attach_adapters, build_model, create_model
from mvplm.config import load_config
from mvplm.models.adapters import AdapterSettings, add_adapters
from mvplm.models.language import LanguageModel
from mvplm.perceiver import Perceiver
from mvplm.pretrained import load_perceiver

LORA = "model.llm.lora={rank: 4, alpha: 8}"


def states(language: LanguageModel) -> torch.Tensor:
    ids = torch.arange(12)[None] % language.num_tokens
    hidden = language(language.embed(ids), torch.ones_like(ids, dtype=torch.bool))
    return language.logits(hidden)


def test_adapters_start_as_nothing_and_leave_only_themselves_and_new_rows_to_learn():
    config, tokenizer = tiny_config(LORA), tiny_tokenizer()
    torch.manual_seed(0)
    model = build_model(config, tokenizer, adapters=False).eval()
    before = states(model.llm)
    attach_adapters(model, config, tokenizer=tokenizer)
    assert torch.equal(states(model.eval().llm), before)
    trained = {name for name, parameter in model.llm.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-2] if "delta" in name else name.split(".")[-3] for name in trained} == {
        "lora_A", "lora_B", "trainable_tokens_delta",
    }  # fmt: skip
    rows = [p for n, p in model.llm.named_parameters() if "tokens_delta" in n]
    words = tokenizer.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    assert [len(row) for row in rows] == [tokenizer.vocab_size - words] * 2
    assert words <= tokenizer.summary_id < tokenizer.vocab_size
    assert all(parameter.requires_grad for parameter in model.decoder.parameters())


def test_the_summary_token_and_the_adapters_learn():
    language = build_tiny(0, LORA).model.llm.train()
    frozen = {name: p.clone() for name, p in language.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.SGD([p for p in language.parameters() if p.requires_grad], lr=0.1)
    token = tiny_tokenizer().summary_id
    ids = torch.tensor([[5, token, 7, token]])
    before = states(language), language.embed(torch.tensor([token])).clone()
    for _ in range(2):
        hidden = language(language.embed(ids), torch.ones_like(ids, dtype=torch.bool))
        torch.nn.functional.cross_entropy(language.logits(hidden)[0, :-1], ids[0, 1:]).backward()
        optimizer.step()
    deltas = {n: p for n, p in language.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in deltas.values())
    assert not torch.equal(language.embed(torch.tensor([token])), before[1])
    assert not torch.equal(states(language), before[0])
    assert all(torch.equal(p, frozen[n]) for n, p in language.named_parameters() if n in frozen)


def test_tied_embeddings_use_the_trained_rows_in_the_head():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    language = LanguageModel(LlamaForCausalLM(LlamaConfig(vocab_size=20, tie_word_embeddings=True, **sizes)))
    add_adapters(language, AdapterSettings(2, 4), new_tokens=[19])
    before = states(language)
    with torch.no_grad():
        next(p for n, p in language.named_parameters() if "tokens_delta" in n).add_(1.0)
    after = states(language)
    assert not torch.equal(after[..., 19], before[..., 19])
    assert torch.equal(after[:, :, :19], before[:, :, :19])


def test_wrong_targets_are_told():
    with pytest.raises(ValueError, match="no linear layer 'q_prj'.*q_proj"):
        create_model("mvplm-tiny", model__llm__lora__rank=2, model__llm__lora__targets=["q_prj"])
    with pytest.raises(ValueError, match="its adapters would not learn"):
        load_config(None, [*SETTINGS, LORA, "model.llm.train=false"])


def test_a_model_with_adapters_is_saved_and_loaded(tmp_path):
    perceiver: Perceiver = build_tiny(0, LORA)
    with torch.no_grad():
        for parameter in perceiver.model.llm.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    perceiver.save(tmp_path)
    loaded = load_perceiver(tmp_path, device="cpu", dtype="fp32")
    assert torch.equal(states(loaded.model.eval().llm), states(perceiver.model.eval().llm))
