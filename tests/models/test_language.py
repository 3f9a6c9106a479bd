"""Connector, language model, text embeddings and generation."""

import pytest
import torch

from mvplm.models.connector import Connector
from mvplm.models.generation import ResponseTokens, greedy_decode, last_states, read_summary, strip_tail
from mvplm.models.language import LanguageModel
from mvplm.models.text import TextEmbedder, span_weights

TOKENS = ResponseTokens(summary=7, end=8, tail=(1, 2, 3))


def small_language(seed: int = 0, **options: int) -> LanguageModel:
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    }
    language = LanguageModel.from_phi(**{**sizes, "num_tokens": 60, **options}).eval()
    with torch.no_grad():
        for parameter in language.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    return language


def ragged() -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings (3, 12, 32) and valid (3, 12), rows of 12, 9 and 6 tokens."""
    generator = torch.Generator().manual_seed(3)
    valid = torch.arange(12) < torch.tensor([[12], [9], [6]])
    return torch.randn(3, 12, 32, generator=generator), valid


def test_connector_halves_or_keeps_the_map_and_counts_its_tokens() -> None:
    feature = torch.randn(2, 8, 4, 6)
    for stride, count in ((64, 6), (32, 24)):
        connector = Connector(8, 8, width=32, stride=stride, norm="group")
        assert connector(feature).shape == (2, count, 8)
        assert connector.num_tokens(128, 192) == count


# Golden G55.
def test_connector_is_its_formula_and_repeats_its_second_convolution() -> None:
    torch.manual_seed(0)
    once = Connector(4, 8, width=32, stride=64).eval()
    twice = Connector(4, 8, width=32, stride=64, conv2_repeats=2).eval()
    twice.load_state_dict(once.state_dict())
    feature = torch.randn(1, 4, 4, 4)
    inner = once.conv2(torch.relu(once.bn1(once.conv1(feature))))
    expected = once.proj(torch.relu(once.bn2(inner) + once.skip(feature))[0].permute(1, 2, 0).reshape(4, 32))
    assert torch.allclose(once(feature)[0], expected, atol=1e-6)
    assert (once(feature) - twice(feature)).abs().max() > 1e-3


def test_connector_refuses_other_settings() -> None:
    with pytest.raises(ValueError, match="32 or 64, got 16"):
        Connector(4, 8, width=32, stride=16)
    with pytest.raises(ValueError, match="did you mean 'batch'"):
        Connector(4, 8, width=32, norm="bach")


# Golden G46.
def test_padding_on_either_side_changes_nothing() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    together = language(embeddings, valid)
    for i, count in enumerate(valid.sum(1).tolist()):
        alone = language(embeddings[i : i + 1, :count], valid[i : i + 1, :count])[0]
        assert torch.allclose(together[i, :count], alone, atol=1e-5)
        left = torch.cat([torch.randn(12 - count, 32), embeddings[i, :count]])[None]
        padded = language(left, valid[i : i + 1].flip(1))[0, 12 - count :]
        assert torch.allclose(padded, alone, atol=1e-5)


def test_own_attention_masks_agree_with_the_library() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    positions = (valid.long().cumsum(1) - 1).clamp(min=0)
    expected = language.model(inputs_embeds=embeddings, attention_mask=valid.long(), position_ids=positions)
    assert torch.allclose(language(embeddings, valid)[valid], expected.last_hidden_state[valid], atol=1e-5)
    language.model.config._attn_implementation = "eager"
    assert torch.allclose(language(embeddings, valid)[valid], expected.last_hidden_state[valid], atol=1e-5)


def test_reading_in_pieces_equals_reading_at_once() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    whole = language(embeddings, valid)
    first = language.prefill(embeddings[:, :5], valid[:, :5])
    second = language.extend(first.state, embeddings[:, 5:6], valid=valid[:, 5:6])
    third = language.extend(second.state, embeddings[:, 6:], valid=valid[:, 6:])
    pieces = torch.cat([first.hidden, second.hidden, third.hidden], dim=1)
    assert torch.allclose(pieces[valid], whole[valid], atol=1e-5)
    assert third.state.lengths.tolist() == [12, 9, 6]


def test_visual_tokens_replace_their_places_only() -> None:
    language = small_language()
    ids, visual = torch.randint(0, 60, (2, 8)), torch.randn(2, 3, 32)
    text = language.embed(ids)
    for starts in ([1, 1], [2, 5]):
        mixed = language.assemble(ids, visual, starts=starts)
        for i, start in enumerate(starts):
            assert torch.equal(mixed[i, start : start + 3], visual[i])
            assert torch.equal(mixed[i, :start], text[i, :start])
            assert torch.equal(mixed[i, start + 3 :], text[i, start + 3 :])
    with pytest.raises(ValueError, match="3 visual tokens from position 6"):
        language.assemble(ids, visual, starts=[1, 6])


def test_loss_looks_at_supervised_positions_only() -> None:
    language = small_language()
    hidden = torch.randn(2, 5, 32)
    supervised, labels = torch.tensor([1, 7, 8]), torch.tensor([4, 9, 1])
    logits = language.lm_head(hidden).reshape(10, -1)[:, :60]
    expected = torch.nn.functional.cross_entropy(logits[supervised], labels)
    assert torch.allclose(language.loss(hidden, supervised, labels=labels), expected, atol=1e-6)
    assert language.loss(hidden, supervised[:0], labels=labels[:0]) == 0


def test_ids_the_tokenizer_does_not_know_get_no_probability() -> None:
    language = small_language()
    logits = language.logits(torch.randn(3, 32))
    assert torch.isneginf(logits[:, 60:]).all() and torch.isfinite(logits[:, :60]).all()
    with pytest.raises(ValueError, match="rows for 64 tokens, the tokenizer 65"):
        small_language(num_tokens=65)


def test_a_tied_head_is_registered_once() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.tie_word_embeddings = True
    causal = LlamaForCausalLM(config).eval()
    language = LanguageModel(causal)
    assert not any(name.startswith("lm_head") for name in language.state_dict())
    ids = torch.randint(0, 20, (1, 4))
    expected = causal(input_ids=ids).logits
    valid = torch.ones(1, 4, dtype=torch.bool)
    assert torch.allclose(language.logits(language(language.embed(ids), valid)), expected, atol=1e-5)


def test_gradient_checkpointing_leaves_gradients_alone() -> None:
    language, (embeddings, valid) = small_language().train(), ragged()
    gradients = []
    for enabled in (False, True):
        language.gradient_checkpointing(enabled)
        language.zero_grad()
        language(embeddings, valid)[valid].square().sum().backward()
        gradients.append(language.model.layers[0].mlp.fc1.weight.grad.clone())
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_state_dict_has_the_usual_phi_names() -> None:
    names = set(small_language().state_dict())
    expected = {"model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.bias", "model.final_layernorm.weight"}
    assert expected | {"lm_head.weight", "lm_head.bias"} <= names


def naive_greedy(language: LanguageModel, row: torch.Tensor, most: int) -> list[int]:
    """One row without cache: read everything again for each token."""
    ids: list[int] = []
    for _ in range(most):
        hidden = language(row[None], torch.ones(1, len(row), dtype=torch.bool))
        token = int(language.logits(hidden)[0, -1].argmax())
        if token in (TOKENS.summary, TOKENS.end):
            return [*ids, token]
        ids.append(token)
        row = torch.cat([row, language.embed(torch.tensor([token]))])
    return ids


# Golden G46.
@pytest.mark.parametrize("seed", [0, 2])
@torch.no_grad()
def test_batched_generation_equals_the_naive_loop(seed: int) -> None:
    language, (embeddings, valid) = small_language(seed), ragged()
    prefix = language.prefill(embeddings, valid)
    decoded = greedy_decode(language, prefix, valid=valid, tokens=TOKENS, max_new_tokens=8)
    states = read_summary(language, decoded, tokens=TOKENS)
    for i in range(3):
        row = embeddings[i, valid[i]]
        expected = naive_greedy(language, row, 8)
        ended = bool(expected) and expected[-1] in (TOKENS.summary, TOKENS.end)
        assert decoded.ids[i] == (expected[:-1] if ended else expected)
        assert decoded.summarised[i] == (ended and expected[-1] == TOKENS.summary)
        tail = [] if decoded.summarised[i] else list(TOKENS.tail)
        rest = torch.tensor([*decoded.ids[i], *tail, TOKENS.summary])
        whole = torch.cat([row, language.embed(rest)])[None]
        hidden = language(whole, torch.ones(1, whole.shape[1], dtype=torch.bool))
        assert torch.allclose(states[i], hidden[0, -1], atol=1e-4)


@torch.no_grad()
def test_g46_padding_on_the_left_gives_the_same_captions() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    turned = torch.zeros_like(embeddings)
    for i, count in enumerate(valid.sum(1).tolist()):
        turned[i, 12 - count :] = embeddings[i, :count]
    found = []
    for given, real in ((embeddings, valid), (turned, valid.flip(1))):
        prefix = language.prefill(given, real)
        decoded = greedy_decode(language, prefix, valid=real, tokens=TOKENS, max_new_tokens=8)
        found.append((decoded.ids, decoded.summarised, read_summary(language, decoded, tokens=TOKENS)))
    assert found[0][:2] == found[1][:2]
    assert torch.allclose(found[0][2], found[1][2], atol=1e-4)


def test_the_mean_over_layers_counts_the_input_and_the_final_norm() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    states = [embeddings]
    hooks = [
        layer.register_forward_hook(lambda _, __, out: states.append(out[0] if isinstance(out, tuple) else out))
        for layer in language.model.layers
    ]
    last = language(embeddings, valid)
    for hook in hooks:
        hook.remove()
    expected = torch.stack([*states[:-1], last]).mean(0)
    reading = language.read(embeddings, valid, mean=True)
    assert len(states) == 3
    assert torch.allclose(reading.mean[valid], expected[valid], atol=1e-6)
    assert torch.allclose(reading.hidden[valid], last[valid], atol=1e-6)
    first = language.prefill(embeddings[:, :5], valid[:, :5], mean=True)
    rest = language.extend(first.state, embeddings[:, 5:], valid=valid[:, 5:], mean=True)
    pieces = torch.cat([first.mean, rest.mean], dim=1)
    assert torch.allclose(pieces[valid], expected[valid], atol=1e-5)
    assert language.read(embeddings, valid).mean is None


def test_a_head_without_bias() -> None:
    language = small_language(head_bias=False)
    assert "lm_head.bias" not in language.state_dict()
    hidden = torch.randn(2, 32)
    assert torch.allclose(language.logits(hidden)[:, :60], (hidden @ language.lm_head.weight.T)[:, :60], atol=1e-5)


# Golden G46.
@torch.no_grad()
def test_rows_end_where_their_own_token_stands() -> None:
    """Every generated token takes its turn as the one that ends a row."""
    language, (embeddings, valid) = small_language(), ragged()

    def decode(end: int) -> list[list[int]]:
        prefix = language.prefill(embeddings, valid)
        tokens = ResponseTokens(summary=end, end=63, tail=(1,))
        return greedy_decode(language, prefix, valid=valid, tokens=tokens, max_new_tokens=6).ids

    free = decode(62)
    assert all(len(row) == 6 for row in free)
    uneven = 0
    for end in {token for row in free for token in row}:
        found = decode(end)
        assert found == [row[: row.index(end)] if end in row else row for row in free]
        uneven += len({len(row) for row in found}) > 1
    assert uneven, "no token made the rows end at different steps"


@torch.no_grad()
def test_nothing_is_generated_when_nothing_may_be() -> None:
    language, (embeddings, valid) = small_language(), ragged()
    prefix = language.prefill(embeddings, valid)
    decoded = greedy_decode(language, prefix, valid=valid, tokens=TOKENS, max_new_tokens=0)
    assert decoded.ids == [[], [], []] and decoded.summarised == [False] * 3


def test_last_states_and_tails() -> None:
    hidden, valid = torch.arange(12.0).reshape(2, 6, 1), torch.tensor([[1, 1, 0, 0, 0, 0], [1] * 6]).bool()
    assert last_states(hidden, valid).flatten().tolist() == [1.0, 11.0]
    assert strip_tail([9, 1, 2, 3], (1, 2, 3)) == [9]
    assert strip_tail([9, 2, 3], (1, 2, 3)) == [9, 2, 3]
    assert strip_tail([], (1,)) == []


# Golden G23.
def test_pooling_equals_a_loop_over_spans() -> None:
    hidden = torch.randn(2, 9, 4)
    spans = torch.tensor([[[1, 2], [3, 6], [0, 0]], [[0, 9], [2, 4], [5, 8]]])
    mask = torch.tensor([[True, True, False], [True, True, True]])
    pooled = span_weights(spans, mask, length=9) @ hidden
    for b in range(2):
        for k in range(3):
            start, end = spans[b, k].tolist()
            expected = hidden[b, start:end].mean(0) if mask[b, k] else torch.zeros(4)
            assert torch.allclose(pooled[b, k], expected, atol=1e-6)


def test_words_and_sentences_have_projections_of_their_own() -> None:
    text = TextEmbedder(6, 4)
    assert {name.split(".")[0] for name in text.state_dict()} == {"word", "sentence", "no_object", "no_object_bias"}
    assert "word.layers.1.bias" in text.state_dict()
    hidden, spans, mask = torch.randn(1, 5, 6), torch.tensor([[[1, 3]]]), torch.ones(1, 1, dtype=torch.bool)
    word = text(hidden, spans, mask=mask, family="word")
    assert word.shape == (1, 1, 4)
    assert not torch.allclose(word, text(hidden, spans, mask=mask, family="sentence"))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(text(hidden, spans, mask=mask, family="word"), word)
    with pytest.raises(ValueError, match="did you mean 'linear'"):
        TextEmbedder(6, 4, projection="liner")
