"""States caught while the base model writes are those of a second, full pass over the finished text."""

import pytest
import torch
from oracles.qwen3vl_seg import patch_rows

import mvplm
from mvplm.models.qwen3vl_seg.capture import StateCapture, base_of, visual_levels
from mvplm.models.qwen3vl_seg.writing import Writing, read_answers, read_prefix, write_after, write_boxes

IMAGE, START, STOP, MASK, END, PAD = 500, 502, 503, 491, 1, 0
GRIDS = [(4, 6), (2, 4)]


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    model = mvplm.create_model("qwen3vl-seg-tiny").base.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)
        # Mask tokens are likely: their row of the head looks like the states that ask for them.
        for row, picture in enumerate(images()):
            states = full_pass(model, PROMPTS[row], picture)[-1]
            model.lm_head.weight[MASK] += states / states.norm()
    return model


def images(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(3, 16 * h, 16 * w, generator=generator) * 2 - 1 for h, w in GRIDS]


def prompt(row: int, tail, *, lead=()) -> list[int]:
    height, width = GRIDS[row]
    return [5, *lead, START, *[IMAGE] * (height * width // 4), STOP, *tail]


def batch(rows, pictures):
    """Arguments of the model, padded on the left."""
    longest = max(map(len, rows))
    ids = torch.tensor([[PAD] * (longest - len(row)) + row for row in rows])
    return {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
        "mm_token_type_ids": (ids == IMAGE).int(),
        "pixel_values": torch.cat([patch_rows(picture) for picture in pictures]),
        "image_grid_thw": torch.tensor([[1, p.shape[1] // 16, p.shape[2] // 16] for p in pictures]),
    }


def writing(most: int = 12, **more) -> Writing:
    return Writing(MASK, (END,), PAD, most, **more)


def full_pass(base, row, picture):
    """States of one row (T, D) by a second pass that keeps all of them."""
    inputs = batch([row], [picture])
    with torch.no_grad():
        return base(**inputs, output_hidden_states=True).hidden_states[-1][0]


PROMPTS = [prompt(0, [7, 8]), prompt(1, [9, 10, 11, 12, 13])]


def test_states_of_a_padded_batch_are_those_of_a_second_pass(base):
    found = write_boxes(base, batch(PROMPTS, images()), writing=writing())
    assert sum(len(answer.mask_states) for answer in found) >= 3
    for row, (given, picture, answer) in enumerate(zip(PROMPTS, images(), found, strict=True)):
        ids = [*given, *answer.written.ids]
        states = full_pass(base, ids, picture)
        masks = states[torch.tensor(ids) == MASK]
        height, width = GRIDS[row]
        maps = states[torch.tensor(ids) == IMAGE].T.view(-1, height // 2, width // 2)
        assert answer.mask_states.shape == masks.shape
        assert torch.allclose(answer.mask_states, masks, atol=1e-5, rtol=0)
        assert torch.allclose(answer.image.states, maps, atol=1e-5, rtol=0)
        assert torch.allclose(answer.image.image, picture, atol=0, rtol=0)


def test_a_mask_token_at_the_limit_still_has_its_state(base):
    free = write_boxes(base, batch(PROMPTS, images()), writing=writing(20))[0].written.ids
    most = free.index(MASK) + 1
    cut = write_boxes(base, batch(PROMPTS[:1], images()[:1]), writing=writing(most))[0]
    assert (cut.written.ids, cut.written.finished) == (free[:most], False)
    states = full_pass(base, [*PROMPTS[0], *free[:most]], images()[0])
    assert torch.allclose(cut.mask_states[-1], states[-1], atol=1e-5, rtol=0)


def test_the_vision_tower_runs_once_and_the_answer_is_that_of_generate(base):
    inputs = batch(PROMPTS, images())
    plain = base.generate(**inputs, do_sample=False, max_new_tokens=12, eos_token_id=END, pad_token_id=PAD)
    with StateCapture(base, mask_id=MASK) as capture:
        caught = base.generate(**inputs, do_sample=False, max_new_tokens=12, eos_token_id=END, pad_token_id=PAD)
    assert torch.equal(plain, caught)
    assert capture.visual_calls == 1
    assert torch.equal(capture.seen, caught[:, :-1])
    hooks = [base.model, base.model.visual, base.model.language_model.norm]
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in hooks)


@torch.no_grad()
def test_image_states_do_not_see_a_question_behind_the_image(base):
    def states(tail, lead=()):
        with StateCapture(base, mask_id=MASK) as capture:
            base(**batch([prompt(0, tail, lead=lead)], images()[:1]))
        return capture.images[0].states

    assert torch.equal(states([7, 8, 9]), states([11, 12, 13]))
    assert not torch.allclose(states([7], lead=[7, 8]), states([7], lead=[11, 12]), atol=1e-3)


@torch.no_grad()
def test_prefills_in_chunks_leave_the_same(base):
    inputs = batch(PROMPTS[:1], images()[:1])
    with StateCapture(base, mask_id=MASK) as whole:
        output = base(**inputs, use_cache=True)
    with StateCapture(base, mask_id=MASK, images=whole.images) as rest:
        base(input_ids=torch.tensor([[MASK, 8]]), past_key_values=output.past_key_values)
        base(input_ids=torch.tensor([[MASK]]), past_key_values=output.past_key_values)
    states = full_pass(base, [*PROMPTS[0], MASK, 8, MASK], images()[0])
    assert torch.allclose(rest.mask_states[0], states[[-3, -1]], atol=1e-5, rtol=0)


def test_a_prefix_that_was_read_once_serves_other_questions(base):
    """The answer after the kept prefix is that of the whole prompt, also when another image came between."""
    whole = [write_boxes(base, batch([prompt(0, tail)], images()[:1]), writing=writing())[0] for tail in ([7, 8], [9])]
    prefix = read_prefix(base, batch([prompt(0, [7])], images()[:1]), length=len(prompt(0, [])), mask_id=MASK)
    write_boxes(base, batch([prompt(1, [7])], images()[1:]), writing=writing(3))
    for tail, expected in zip(([7, 8], [9]), whole, strict=True):
        found = write_after(base, prefix, ids=tail, writing=writing())
        assert found.written.ids == expected.written.ids
        assert torch.allclose(found.mask_states, expected.mask_states, atol=1e-5, rtol=0)
        assert found.image is prefix.image


def test_given_answers_are_read_in_one_pass(base):
    answers = [[7, MASK, 9], [MASK, 7, MASK, 8]]
    rows = [[*given, *answer] for given, answer in zip(PROMPTS, answers, strict=True)]
    found = read_answers(base, batch(rows, images()), answers=answers, writing=writing())
    assert [len(answer.mask_states) for answer in found] == [1, 2]
    for row, picture, answer in zip(rows, images(), found, strict=True):
        expected = full_pass(base, row, picture)[torch.tensor(row) == MASK]
        assert torch.allclose(answer.mask_states, expected, atol=1e-5, rtol=0)


def test_gradients_flow_through_caught_states(base):
    inputs = batch([[*PROMPTS[0], MASK]], images()[:1])
    with StateCapture(base, mask_id=MASK) as capture:
        base(**inputs)
    image = capture.images[0]
    loss = capture.mask_states[0].sum() + image.states.square().sum() + sum(m.square().sum() for m in image.levels)
    rows = torch.autograd.grad(loss, [base.get_input_embeddings().weight, base.model.visual.patch_embed.proj.weight])
    assert rows[0][MASK].abs().sum() > 0 and rows[1].abs().sum() > 0


def test_outputs_of_older_versions_have_the_same_order():
    """A pair of the final map and a list of levels, or an object with names."""
    from types import SimpleNamespace

    final, levels = torch.ones(1), [torch.zeros(1), torch.ones(1) * 2]
    named = SimpleNamespace(pooler_output=final, deepstack_features=levels)
    for output in ((final, levels), named):
        assert [float(level) for level in visual_levels(output)] == [0, 2, 1]


def test_what_has_no_states_is_refused(base):
    with pytest.raises(ValueError, match="num_beams=2: beam search"):
        writing(sampling={"num_beams": 2})
    with pytest.raises(ValueError, match="did you mean 'temperature'"):
        writing(sampling={"temperatur": 2})
    pair = batch([prompt(0, [START, *[IMAGE] * 2, STOP, 7])], images())
    with pytest.raises(ValueError, match="exactly one image per question, got 2 for 1"):
        write_boxes(base, pair, writing=writing(2))
    with StateCapture(base, mask_id=MASK), pytest.raises(ValueError, match="with input_ids"):
        base(inputs_embeds=torch.zeros(1, 2, 64))
    with pytest.raises(ValueError, match="beam search and assisted"), StateCapture(base, mask_id=MASK):
        base(input_ids=torch.ones(1, 2, dtype=torch.long))
        base(input_ids=torch.ones(2, 2, dtype=torch.long))
    video = {**batch(PROMPTS[:1], images()[:1]), "pixel_values_videos": torch.zeros(1)}
    with pytest.raises(ValueError, match="not on videos"), StateCapture(base, mask_id=MASK):
        base(**video)
    with pytest.raises(ValueError, match="expected a Qwen3-VL"):
        base_of(torch.nn.Linear(1, 1))
