"""The whole network on small sizes: sets, gradients, batches against single samples, generation."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace

import pytest
import torch
from oracles.model_batches import PUBLISHED, SMALL, TAIL, TINY, Row, build_model, make_batch, small_model
from torch import Tensor

from mvplm.models.mvplm import MVPLM
from mvplm.structures import Batch, PerceptionOutput

FUSIONS = ("sum", "visual_only", "base_only", "concat_mlp")


def word_rows() -> list[Row]:
    """Three samples that differ in names, sizes, targets, response and image position."""
    return [
        Row([[20, 21], [22], [23]], (64, 64), [0, 1, 2], [30, 31, 32], lead=2, seed=1),
        Row([[24], [25, 26, 27]], (40, 64), [1], [33], lead=4, seed=2),
        Row([[28], [20], [22], [29], [21]], (64, 35), [], [], lead=2, seed=3),
    ]


def sentence_rows() -> list[Row]:
    return [
        Row([[20, 21, 22]], (64, 64), [0], [30, 31], seed=1),
        Row([[24]], (50, 64), [], [], lead=3, seed=2),
        Row([[25, 26]], (64, 30), [0, 0], [33], seed=3),
    ]


def loss_of(output: PerceptionOutput) -> Tensor:
    """Something that depends on everything an output holds."""
    sets = [output, output.selection, output.denoising]
    total = output.lm_loss + output.zero
    for found in sets:
        if found is None:
            continue
        logits = found.logits
        total = total + logits.masked_fill(torch.isneginf(logits), 0).square().mean() + found.boxes.square().mean()
        if found.mask_embeddings is not None:
            masks = torch.einsum("...bqc,bchw->...bqhw", found.mask_embeddings, output.mask_features)
            total = total + masks.square().mean()
    return total


def grad_of(model: MVPLM, name: str) -> float:
    """Largest absolute gradient of the parameters under a name; 0 when there is none."""
    grads = [p.grad for n, p in model.named_parameters() if n.startswith(name) and p.grad is not None]
    assert any(n.startswith(name) for n, _ in model.named_parameters()), name
    return max((float(g.abs().max()) for g in grads), default=0.0)


def close(first: Tensor, second: Tensor, tolerance: float = 1e-4) -> None:
    assert torch.equal(torch.isneginf(first), torch.isneginf(second))
    first, second = first.masked_fill(torch.isneginf(first), 0), second.masked_fill(torch.isneginf(second), 0)
    assert (first - second).abs().max() <= tolerance * max(1.0, second.abs().max().item())


def singles(rows: list[Row], **options: object) -> Iterator[Batch]:
    for row in rows:
        yield make_batch([row], **options)


# --- sizes ---------------------------------------------------------------------------------------------------------


def count(model: torch.nn.Module | None) -> int:
    return sum(p.numel() for p in model.parameters()) if model is not None else 0


# Golden G1.
def test_published_parameter_counts() -> None:
    with torch.device("meta"):
        model = build_model(PUBLISHED)
    assert count(model.encoder) == 86_880_376
    assert count(model.connector) == 62_928_896
    assert count(model.pixel_decoder) == 11_204_608
    assert count(model.decoder) + count(model.heads) + count(model.selector) == 14_769_796
    assert count(model.text) == 1_180_929
    assert count(model.query) == 615_936
    assert count(model.stuff) == 26_000
    assert count(model.llm) == 1_418_270_720
    assert count(model) == 1_595_877_261


# Golden G1.
def test_full_expansion_count() -> None:
    from mvplm.models.queries import QueryGenerator

    with torch.device("meta"):
        assert count(QueryGenerator(2048, 256, num=100, expand="full")) == 7_103_744


def test_tiny_stays_tiny() -> None:
    with torch.device("meta"):
        assert count(build_model(TINY)) <= 6_000_000


# Golden G59.
def test_state_names() -> None:
    names = set(small_model(fusion="concat_mlp").state_dict())
    expected = {
        "connector.conv1.weight",
        "connector.skip.1.weight",
        "connector.proj.bias",
        "llm.model.layers.0.self_attn.q_proj.weight",
        "llm.lm_head.bias",
        "text.word.layers.1.weight",
        "text.sentence.layers.0.bias",
        "text.no_object",
        "text.no_object_bias",
        "pixel_decoder.mask_features.weight",
        "selector.proj.weight",
        "selector.norm.bias",
        "query.base.layers.1.weight",
        "query.slots",
        "query.fuse.layers.0.weight",
        "stuff.content",
        "stuff.boxes",
        "decoder.layers.1.norm3.weight",
        "decoder.ref_point_head.layers.1.weight",
        "decoder.norm.weight",
        "heads.box.layers.2.bias",
        "heads.mask.layers.2.bias",
        "heads.word.layers.1.bias",
        "heads.sentence.layers.1.bias",
    }
    assert expected - names == set()
    only_base = set(small_model(fusion="base_only").state_dict())
    assert "query.boxes" in only_base and not any(name.startswith("selector.") for name in only_base)
    assert not any(name.startswith("query.") for name in small_model(fusion="visual_only").state_dict())


# --- training ------------------------------------------------------------------------------------------------------


def test_training_sets_and_their_shapes() -> None:
    model, batch = small_model().train(), make_batch(word_rows())
    output = model(batch)
    assert output.logits.shape == (3, 3, 9, 6) and output.boxes.shape == (3, 3, 9, 4)
    assert output.mask_embeddings.shape == (3, 3, 9, 32) and output.mask_features.shape == (3, 32, 16, 16)
    assert output.num_things == 6
    assert output.selection.logits.shape == (3, 9, 6) and output.selection.boxes.shape == (3, 9, 4)
    assert (output.denoising.groups, output.denoising.slots) == (2, 3)
    assert output.denoising.logits.shape == (3, 3, 6, 6)
    assert output.zero.item() == 0.0
    assert torch.isneginf(output.logits[:, 1, :, 2:5]).all()
    assert torch.isfinite(output.logits[:, 1, :, [0, 1, 5]]).all()
    assert output.logits.dtype == output.boxes.dtype == torch.float32


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("kind", ["panoptic", "detection", "boxes", "res"])
def test_every_trainable_parameter_gets_a_finite_gradient(fusion: str, kind: str) -> None:
    model = small_model(fusion=fusion).train()
    family = "sentence" if kind == "res" else "word"
    rows = sentence_rows() if kind == "res" else word_rows()
    if kind == "boxes":
        rows = [replace(row, masks=False) for row in rows]
    task = {"boxes": "detection"}.get(kind, kind)
    output = model(make_batch(rows, task=task, family=family))
    assert (output.mask_features is None) == (kind == "boxes")
    loss_of(output).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_training_batch_without_any_target() -> None:
    model = small_model().train()
    output = model(make_batch([replace(row, labels=[]) for row in word_rows()]))
    assert output.denoising is None and output.mask_embeddings is None
    loss_of(output).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


# Golden G35.
def test_denoising_does_not_leak_into_the_matching_queries() -> None:
    batch = make_batch(word_rows())
    with_noise, without = small_model().train(), small_model().train()
    without.denoising = None
    first, second = with_noise(batch), without(batch)
    assert first.denoising is not None and second.denoising is None
    close(first.logits, second.logits, 1e-5)
    close(first.boxes, second.boxes, 1e-5)
    close(first.mask_embeddings, second.mask_embeddings, 1e-5)


def test_denoising_at_zero_noise_starts_from_the_targets() -> None:
    model, batch = small_model().train(), make_batch(word_rows())
    model.denoising = replace(model.denoising, box_noise=0.0)
    found = model(batch).denoising
    assert torch.allclose(found.boxes[0, 0, :3], batch.targets[0].boxes, atol=1e-4)
    assert found.target_index.tolist() == [[0, 1, 2], [0, -1, -1], [-1, -1, -1]]


def test_sentences_and_evaluation_know_no_denoising() -> None:
    assert small_model().train()(make_batch(sentence_rows(), task="res", family="sentence")).denoising is None
    output = small_model().eval()(make_batch(word_rows()))
    assert output.denoising is None and output.selection is None and output.lm_loss is None
    assert output.logits.shape[0] == 1


def final_boxes(model: MVPLM, batch: Batch) -> Tensor:
    """Sum of the last set's boxes of matching queries and the summary they came from, ready for gradients."""
    output = model(batch)
    output.summary.retain_grad()
    output.final.boxes[:, : output.num_things].square().sum().backward()
    return output.summary.grad if output.summary.grad is not None else torch.zeros(1)


# Golden G36.
def test_box_losses_reach_the_summary_unless_only_visual_features_count() -> None:
    batch = make_batch(word_rows(), task="detection")
    assert final_boxes(small_model(fusion="sum").train(), batch).abs().max() > 1e-8
    assert final_boxes(small_model(fusion="concat_mlp").train(), batch).abs().max() > 1e-8
    assert final_boxes(small_model(fusion="base_only").train(), batch).abs().max() > 1e-8
    assert final_boxes(small_model(fusion="visual_only").train(), batch).abs().max() == 0


# Golden G36.
def test_selection_layers_learn_from_the_selection_set_alone() -> None:
    model, batch = small_model().train(), make_batch(word_rows())
    output = model(batch)
    rest = output.boxes.square().sum() + output.denoising.boxes.square().sum() + output.mask_embeddings.square().sum()
    rest.backward(retain_graph=True)
    assert grad_of(model, "selector.") == 0
    output.selection.boxes.square().sum().backward()
    assert grad_of(model, "selector.") > 0


# Golden G36, G59.
def test_selection_and_stuff_boxes_learn_as_told() -> None:
    batch = make_batch(word_rows())
    for detach in (False, True):
        model = small_model(stuff_detach=detach).train()
        output = model(batch)
        output.boxes[1:, :, output.num_things :].square().sum().backward(retain_graph=True)
        assert (grad_of(model, "stuff.boxes") > 0) == (grad_of(model, "stuff.content") > 0) == (not detach)
        model.zero_grad()
        output.selection.logits.masked_fill(torch.isneginf(output.selection.logits), 0).sum().backward()
        assert grad_of(model, "stuff.content") > 0
        assert grad_of(model, "stuff.boxes") == 0


# Golden G36.
def test_text_embeddings_teach_the_language_model() -> None:
    model, batch = small_model(fusion="visual_only").train(), make_batch(word_rows())
    logits = model(batch).final.logits
    logits.masked_fill(torch.isneginf(logits), 0).square().sum().backward()
    assert grad_of(model, "llm.model.layers.0") > 0


# Golden G24.
def test_padded_names_get_no_probability_and_no_gradient() -> None:
    model, batch = small_model().train(), make_batch(word_rows())
    output = model(batch)
    output.text_embeddings.retain_grad()
    probabilities = output.logits.softmax(-1)
    assert probabilities[:, 1, :, 2:5].abs().max() == 0
    loss_of(output).backward()
    grad = output.text_embeddings.grad
    assert torch.isfinite(grad).all() and grad[1, 2:].abs().max() == 0 and grad[1, :2].abs().min() > 0


def test_caption_loss_trains_the_language_path_only() -> None:
    rows = [Row([], response=[30, 31, 32], seed=1), Row([], response=[33], seed=2, lead=3)]
    model, batch = small_model().train(), make_batch(rows, task="caption", family="caption")
    loss = model.caption_loss(batch)
    assert abs(loss.item() - math.log(64)) < 6 and loss.ndim == 0
    loss.backward()
    assert grad_of(model, "connector.") > 0 and grad_of(model, "llm.") > 0
    assert all(grad_of(model, part) == 0 for part in ("decoder.", "heads.", "text.", "pixel_decoder."))
    assert all(p.grad is not None for p in model.parameters())
    with pytest.raises(ValueError, match="caption_loss"):
        model(batch)


def test_lm_loss_equals_the_mean_over_labels() -> None:
    model, batch = small_model().train(), make_batch(word_rows())
    torch.manual_seed(0)
    loss = model(batch).lm_loss
    visual = model.encode(batch.images, batch.valid_sizes)
    hidden = model.llm(
        model.llm.assemble(batch.input_ids, visual.tokens, starts=batch.image_starts), batch.attention_mask
    )
    logits = model.llm.logits(hidden)[:, :-1].transpose(1, 2)
    assert torch.allclose(loss, torch.nn.functional.cross_entropy(logits, batch.labels[:, 1:]), atol=1e-5)


# Golden G57.
@pytest.mark.parametrize(("task", "family"), [("panoptic", "word"), ("res", "sentence"), ("caption", "caption")])
def test_a_training_step_reads_nothing_back_from_the_device(
    task: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the meta device there are no values: whatever looks at one fails. (Autocast does not know that device.)"""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    with torch.device("meta"):
        model = build_model(SMALL).train()
    rows = {"word": word_rows(), "sentence": sentence_rows(), "caption": [Row([], response=[30])]}[family]
    batch = make_batch([replace(row, labels=row.labels or [0]) for row in rows], task=task, family=family).to("meta")
    loss = model.caption_loss(batch) if family == "caption" else loss_of(model(batch))
    loss.backward()
    assert loss.is_meta and all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_autocast_keeps_what_must_be_exact(training: bool) -> None:
    model = small_model().train(training)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(make_batch(word_rows()))
        loss = loss_of(output) if training else None
    assert output.logits.dtype == output.boxes.dtype == output.text_embeddings.dtype == torch.float32
    if training:
        assert output.selection.logits.dtype == output.selection.boxes.dtype == torch.float32
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())


# --- inference -----------------------------------------------------------------------------------------------------


# Golden G24, G46.
@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(("task", "family"), [("panoptic", "word"), ("detection", "word"), ("res", "sentence")])
@torch.no_grad()
def test_a_mixed_batch_equals_its_samples_one_by_one(fusion: str, task: str, family: str) -> None:
    rows = word_rows() if family == "word" else sentence_rows()
    model = small_model(fusion=fusion).eval()
    together = model(make_batch(rows, task=task, family=family))
    for i, batch in enumerate(singles(rows, task=task, family=family)):
        alone = model(batch)
        known = len(rows[i].names)
        columns = [*range(known), -1] if family == "word" else [0]
        close(together.logits[0, i][:, columns], alone.logits[0, 0])
        close(together.boxes[0, i], alone.boxes[0, 0])
        close(together.mask_embeddings[0, i], alone.mask_embeddings[0, 0])
        close(together.mask_features[i], alone.mask_features[0])
        close(together.text_embeddings[i, :known], alone.text_embeddings[0])


# Golden G23.
@torch.no_grad()
def test_text_embeddings_do_not_depend_on_the_response() -> None:
    model, rows = small_model().eval(), word_rows()
    first = model(make_batch(rows))
    second = model(make_batch([replace(row, response=[40, 41]) for row in rows]))
    assert (first.text_embeddings - second.text_embeddings).abs().max() <= 1e-6
    assert (first.summary - second.summary).abs().max() > 1e-3


# Golden G22.
@torch.no_grad()
def test_embeddings_come_back_in_the_callers_order() -> None:
    model, batch = small_model().eval(), make_batch(word_rows()[:1])
    order = [2, 0, 1]
    shuffled = replace(batch, name_spans=batch.name_spans[:, order])
    first, second = model(batch), model(shuffled)
    assert torch.allclose(second.text_embeddings, first.text_embeddings[:, order], atol=1e-6)
    close(second.logits, first.logits[..., [*order, 3]], 1e-5)


@torch.no_grad()
def test_one_image_serves_several_prompts() -> None:
    model, rows = small_model().eval(), word_rows()
    rows = [replace(row, seed=7, size=(40, 64)) for row in rows]
    batch = make_batch(rows)
    visual = model.encode(batch.images[:1], batch.valid_sizes[:1])
    shared, own = model(batch, visual=visual.select([0, 0, 0])), model(batch)
    for field in ("logits", "boxes", "mask_embeddings", "mask_features"):
        close(getattr(shared, field), getattr(own, field), 1e-5)
    with pytest.raises(ValueError, match="features of 1 images for 3 prompts"):
        model(batch, visual=visual)


@torch.no_grad()
def test_boxes_only_leaves_the_masks_out() -> None:
    model, batch = small_model().eval(), make_batch(word_rows())
    full, boxes = model(batch), model(batch, boxes_only=True)
    assert boxes.mask_embeddings is None and boxes.mask_features is None
    assert torch.equal(full.boxes, boxes.boxes)


# Golden G46.
@pytest.mark.parametrize("seed", [0, 5])
def test_captions_of_a_batch_equal_those_of_its_samples(seed: int) -> None:
    model, rows = small_model(seed).eval(), word_rows()
    together = model.perceive(make_batch(rows, open_end=True), max_new_tokens=12)
    for i, batch in enumerate(singles(rows, open_end=True)):
        alone = model.perceive(batch, max_new_tokens=12)
        assert together.caption_ids[i] == alone.caption_ids[0] and together.forced[i] == alone.forced[0]
        close(together.output.boxes[0, i], alone.output.boxes[0, 0])
        close(together.output.logits[0, i][:, [*range(len(rows[i].names)), -1]], alone.output.logits[0, 0])
        close(together.output.summary[i], alone.output.summary[0])


def test_a_forced_summary_equals_the_prompt_that_contains_it() -> None:
    """Without any generated token, caption mode reads tail and summary: as skip mode with an empty response."""
    model = small_model().eval()
    rows = [replace(row, response=[]) for row in word_rows()]
    generated = model.perceive(make_batch(rows, open_end=True), max_new_tokens=0)
    skipped = model.perceive(make_batch(rows), mode="skip")
    assert generated.forced == [True] * 3 and generated.caption_ids == [[], [], []]
    assert skipped.forced == [False] * 3 and skipped.caption_ids is None
    close(generated.output.boxes, skipped.output.boxes)
    close(generated.output.logits, skipped.output.logits)


# Golden G47.
def test_a_model_that_never_summarises_is_forced() -> None:
    model = small_model().eval()
    with torch.no_grad():
        model.llm.lm_head.bias[60:62] = -1e4
    found = model.perceive(make_batch(word_rows(), open_end=True), max_new_tokens=5)
    assert found.forced == [True] * 3
    assert torch.isfinite(found.output.boxes).all() and torch.isfinite(found.output.summary).all()


def test_the_announcing_tail_is_no_part_of_the_caption() -> None:
    """A model trained to the letter writes response, tail, <PER>; a head that can only do so stands in for it."""
    model = small_model().eval()
    script = iter([33, *TAIL, 60])

    def scripted(hidden: Tensor) -> Tensor:
        logits = torch.zeros(*hidden.shape[:-1], 64)
        logits[..., next(script)] = 1
        return logits

    model.llm.logits = scripted
    found = model.perceive(make_batch(word_rows()[:1], open_end=True), max_new_tokens=9)
    assert found.caption_ids == [[33]] and found.forced == [False]


def test_plain_captions_are_generated_without_a_summary() -> None:
    rows = [Row([], seed=1), Row([], seed=2, lead=5)]
    batch = make_batch(rows, task="caption", family="caption", open_end=True)
    generation = small_model().eval().generate(batch, max_new_tokens=4)
    assert generation.summary is None and len(generation.caption_ids) == 2


def test_perceive_explains_wrong_calls() -> None:
    model, batch = small_model(), make_batch(word_rows(), open_end=True)
    with pytest.raises(ValueError, match="eval mode"):
        model.train().perceive(batch)
    with pytest.raises(ValueError, match="contain <PER>"):
        model.eval().perceive(batch, mode="skip")
    with pytest.raises(ValueError, match="mode must be one of"):
        model.perceive(batch, mode="captions")


@torch.no_grad()
def test_batches_are_left_as_they_were() -> None:
    model, batch = small_model().eval(), make_batch(word_rows())
    before = {f.name: v.clone() for f in fields(batch) if isinstance(v := getattr(batch, f.name), Tensor)}
    model(batch)
    assert all(torch.equal(getattr(batch, name), value) for name, value in before.items())


# --- selection -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_selection_takes_the_most_similar_valid_tokens() -> None:
    model, batch = small_model().eval(), make_batch(word_rows())
    visual = model.encode(batch.images, batch.valid_sizes)
    text = model(batch).text_embeddings
    found = model._select(batch, visual, text=text)
    proposals = visual.pixel.geometry.proposals("fine_small", device="cpu")
    for b, row in enumerate(word_rows()):
        scores = []
        for i in range(visual.pixel.memory.shape[1]):
            feature = model.selector.norm(model.selector.proj(visual.pixel.memory[b, i]))
            vector = model.heads.word(model.decoder.norm(feature))
            best = max(float(vector @ text[b, k]) for k in range(len(row.names)))
            scores.append(best if bool(proposals.valid[b, i]) else -math.inf)
        best_first = sorted(range(len(scores)), key=lambda i: -scores[i])[:6]
        assert sorted(found.index[b].tolist()) == sorted(best_first)
        assert torch.allclose(
            torch.tensor([scores[i] for i in found.index[b]]), torch.tensor(scores).topk(6)[0], atol=1e-4
        )


@torch.no_grad()
def test_things_alone_can_be_asked_to_select() -> None:
    model, batch = small_model(kinds="things").eval(), make_batch(word_rows()[:1])
    other = small_model(kinds="all").eval()
    only_things = replace(batch, name_mask=batch.name_mask & batch.isthing)
    visual, text = model.encode(batch.images, batch.valid_sizes), model(batch).text_embeddings
    chosen = model._select(batch, visual, text=text).index
    assert torch.equal(chosen, other._select(only_things, visual, text=text).index)
    none = replace(batch, isthing=torch.zeros_like(batch.isthing))
    assert torch.equal(model._select(none, visual, text=text).index, other._select(none, visual, text=text).index)


@torch.no_grad()
def test_too_many_queries_are_refused_and_unfit_tokens_rank_last() -> None:
    rows = [replace(word_rows()[0], size=(64, 8))]
    with pytest.raises(ValueError, match="cannot select 200 queries from 85"):
        small_model(num=200).eval()(make_batch(rows))
    output = small_model(num=80).eval()(make_batch(rows))
    assert torch.isfinite(output.boxes).all()
