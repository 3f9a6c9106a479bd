"""Visual tokens that see all of their picture."""

from dataclasses import replace

import pytest
import torch
from oracles.small_vlms import picture

from mvplm.data.written import WrittenCollate
from mvplm.models.small import SmallSizes, small_model, small_processor, small_tokenizer
from mvplm.models.small.whole_pictures import attend_to_whole_pictures, whole_picture_mask
from mvplm.models.text_mask import add_mask_tokens
from mvplm.models.text_mask.model import read_rows
from mvplm.models.text_mask.pictures import read_pictures
from mvplm.models.text_mask.writing import WritingLimits, write
from mvplm.prompts.chat import ChatFrame
from mvplm.prompts.plain import PlainTokenizer
from mvplm.structures.written import Turn, WrittenSample
from mvplm.textmask import get_codec

SIZES = SmallSizes(
    "llava",
    32,
    2,
    2,
    48,
    vision_width=32,
    vision_layers=1,
    vision_heads=2,
    vision_ffn=48,
    patch=16,
    merge=1,
    image=64,
    picture_attention="full",
)


def system(sizes):
    torch.manual_seed(0)
    tokenizer = small_tokenizer(["foreground background start of end name box mask a red star"] * 50, vocab_size=400)
    model, processor = small_model(tokenizer, sizes), small_processor(tokenizer, sizes)
    add_mask_tokens(model, processor.tokenizer, codec=get_codec("bsd_bricks", grid=16))
    attend_to_whole_pictures(model)
    plain = PlainTokenizer(processor.tokenizer)
    opening = int(model.config.image_token_id)
    return model.eval(), WrittenCollate(processor, plain, frame=ChatFrame.of(processor, plain), opening=opening)


def sample(question="a red star", answer=(60, 61, 62), *, seed=0):
    return WrittenSample(picture(64, 64, seed=seed), 0, "refer.general", (Turn(question, answer),))


def states(model, batch):
    with torch.no_grad():
        return read_rows(model, batch, output_hidden_states=True).hidden_states[-1]


def test_tokens_of_one_picture_see_each_other_and_the_rest_is_causal():
    visual = torch.tensor([[0, 0, 1, 1, 0, 1, 1, 0]]).bool()
    attended = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1]])
    mask = whole_picture_mask(attended, visual, dtype=torch.float32)
    assert mask.shape == (1, 1, 8, 8)
    sees = [row.nonzero()[:, 0].tolist() for row in mask[0, 0] == 0]
    assert sees == [
        [0],
        [1],
        [1, 2, 3],
        [1, 2, 3],
        [1, 2, 3, 4],
        [1, 2, 3, 4, 5, 6],
        [1, 2, 3, 4, 5, 6],
        [*range(1, 8)],
    ]
    assert torch.isfinite(mask).all()


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_first_visual_token_sees_the_last_one_only_with_full_attention(attention):
    model, collate = system(replace(SIZES, picture_attention=attention))
    batch = collate([sample()])
    # The vision encoder sees everything in both cases, so tokens are changed behind it.
    before = states(model, batch)
    handle = model.model.multi_modal_projector.register_forward_hook(lambda module, args, out: _changed(out))
    after = states(model, batch)
    handle.remove()
    visual = (batch.inputs["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    moved = (after - before).abs().sum(-1)[0]
    assert moved[visual[-1]] > 0
    assert (moved[visual[0]] > 1e-6) == (attention == "full")
    assert (moved[: visual[0]] == 0).all(), "the question in front sees no picture"


def _changed(features):
    changed = features.clone()
    changed[:, -1] += 1.0
    return changed


def test_padding_changes_nothing():
    model, collate = system(SIZES)
    short, long = sample("a star"), sample("a red star a red star a red star", tuple(range(60, 80)))
    alone, both = collate([short]), collate([short, long])
    own = states(model, alone)[0]
    padded = states(model, both)[0]
    assert both.inputs["input_ids"].shape[1] > alone.inputs["input_ids"].shape[1]
    assert torch.isfinite(padded).all()
    torch.testing.assert_close(padded[-len(own) :], own, rtol=1e-4, atol=1e-5)


def test_written_answers_are_those_of_whole_rows():
    model, collate = system(SIZES)
    asked = collate([sample(answer=None), sample("a star a star", None, seed=1)])
    limits = WritingLimits((0,), 6)
    pictures = read_pictures(model, asked.inputs)
    answers = write(model, pictures, rows=asked.rows, questions=asked.questions, constraints=[None] * 2, limits=limits)
    for turn, answer in zip(("a red star", "a star a star"), answers, strict=True):
        seed = 0 if turn == "a red star" else 1
        row = collate([sample(turn, tuple(answer.ids), seed=seed)])
        with torch.no_grad():
            best = read_rows(model, row).logits[0, :-1].argmax(-1)
        labels = row.labels[0, -row.tail :]
        told = best[-len(answer.ids) - 1 : -1].tolist()
        assert labels[-len(answer.ids) - 1 : -1].tolist() == answer.ids == told


def test_saved_models_remember_it(tmp_path):
    from transformers import AutoModelForImageTextToText

    model, collate = system(SIZES)
    batch = collate([sample()])
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    attend_to_whole_pictures(again)
    torch.testing.assert_close(states(again, batch), states(model, batch))


def test_only_llava_has_it():
    with pytest.raises(ValueError, match="picture_attention 'full' needs kind 'llava'"):
        SmallSizes("qwen3_vl", picture_attention="full")
