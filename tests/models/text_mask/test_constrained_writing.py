"""Whatever a model with random weights prefers, its answers are read without any repair; nothing else changes them."""

from dataclasses import replace

import pytest
import torch
from oracles.small_vlms import FAMILIES, picture, text_mask_parts

from mvplm.models.text_mask.constraint import AnswerConstraints
from mvplm.models.text_mask.reading import Asked, perceive_answer
from mvplm.structures.written import Turn, WrittenSample

BOX_WISE = ("bsd_bricks", "canvas", "bsd")
ROOM = {"bsd_bricks": 90, "canvas": 90, "bsd": 150, "isd_rrle": 150, "isd_irle": 150, "isd_full": 200}
FORMS = ("refer.single", "refer.general", "reason.multi", "semantic.conditional", "ground")


def asked(form: str, seed: int, *, size: tuple[int, int] = (40, 48)) -> WrittenSample:
    names = ("red star", "the ring") if form.startswith("semantic") else (f"the star {seed}",)
    question = "x " * seed + "Segment every object described as: star."
    return WrittenSample(picture(*size, seed=seed), seed, form, (Turn(question, None, names),))


def write(parts, samples, *, name: str, **options):
    return parts.model.write(parts.collate(samples), max_new_tokens=ROOM[name], **options)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen3_vl"])
@pytest.mark.parametrize("name", list(ROOM))
def test_every_answer_is_what_the_codec_writes(family: str, name: str):
    parts = text_mask_parts(family, name, 4)
    forms = [form for form in FORMS if name in BOX_WISE or form != "ground"]
    samples = [asked(form, seed) for seed, form in enumerate(forms)]
    for sample, written in zip(samples, write(parts, samples, name=name), strict=True):
        assert written.finished
        result = parts.model.read(written, (40, 48))
        found = perceive_answer(
            parts.model,
            written,
            asked=Asked("referring", (40, 48), sample.turns[0].names, box_only=sample.form == "ground"),
        )
        assert found.written.status in ("ok", "no_target"), (sample.form, found.written)
        assert not result.repairs
        assert len(found.instances) or found.no_target
        assert sample.form not in ("refer.single", "ground") or len(found.instances) <= 1
        assert all(0 <= score <= 1 for score in found.instances.scores.tolist())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["bsd_bricks", "isd_rrle"])
def test_jumping_over_forced_tokens_changes_nothing_but_the_forward_passes(family: str, name: str, monkeypatch):
    parts = text_mask_parts(family, name, 4)
    samples = [asked("refer.general", 1), asked("refer.single", 4, size=(64, 40)), asked("reason.multi", 2)]
    counted = []
    forward = parts.model.model.forward
    monkeypatch.setattr(parts.model.model, "forward", lambda **inputs: (counted.append(1), forward(**inputs))[1])
    slow = write(parts, samples, name=name, jump=False)
    steps = len(counted)
    quick = write(parts, samples, name=name)
    assert [answer.ids for answer in quick] == [answer.ids for answer in slow]
    assert [answer.free for answer in quick] == [answer.free for answer in slow]
    for one, other in zip(quick, slow, strict=True):
        assert one.log_probs == pytest.approx(other.log_probs, abs=1e-3)
    assert len(counted) - steps < steps


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("constrained", [True, False])
def test_answers_are_those_of_generate(family: str, constrained: bool):
    parts = text_mask_parts(family, "bsd_bricks", 4)
    batch = parts.collate([asked("refer.general", 1)])
    room = 80 if constrained else 24
    found = parts.model.write(batch, max_new_tokens=room, constrained=constrained)[0]
    within = [parts.model.constraints("refer.general", ("the star 1",), max_new_tokens=room)] if constrained else []
    inputs = dict(batch.inputs)
    for key, fill in (("input_ids", None), ("attention_mask", 1), ("mm_token_type_ids", 0)):
        if key in inputs:
            tail = batch.questions[0] if fill is None else [fill] * len(batch.questions[0])
            inputs[key] = torch.cat([inputs[key], inputs[key].new_tensor([tail])], dim=1)
    whole = parts.model.model.generate(
        **inputs,
        do_sample=False,
        max_new_tokens=room,
        eos_token_id=list(parts.model.ends),
        logits_processor=within,
    )[0, inputs["input_ids"].shape[1] :].tolist()
    assert whole[: len(found.ids)] == found.ids
    assert whole[len(found.ids) :] == list(parts.model.ends[:1]) * found.finished


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_that_questions_share_is_read_once(family: str, monkeypatch):
    parts = text_mask_parts(family, "bsd_bricks", 4)
    one, other = asked("refer.general", 1), asked("refer.general", 3, size=(64, 40))
    samples = [one, other, replace(asked("refer.single", 5), image=one.image)]
    alone = [write(parts, [sample], name="bsd_bricks")[0] for sample in samples]
    batch = parts.collate(samples)
    assert (batch.rows, len(batch.inputs["input_ids"])) == ([0, 1, 0], 2)
    assert [answer.ids for answer in parts.model.write(batch, max_new_tokens=90)] == [a.ids for a in alone]
    pictures = parts.model.look(batch)
    monkeypatch.setattr(parts.model, "look", None)
    for _ in range(2):
        again = parts.model.write(batch, max_new_tokens=90, pictures=pictures)
        assert [answer.ids for answer in again] == [answer.ids for answer in alone]


def test_grammars_are_kept_and_too_little_room_is_refused():
    parts = text_mask_parts("qwen3_vl", "bsd_bricks", 4)
    made = AnswerConstraints(parts.model.codec, parts.model.tokenizer, ends=parts.model.ends)
    first = made("refer.general", ["a star"], max_new_tokens=90)
    assert made("refer.general", ["a star"], max_new_tokens=99).grammar is first.grammar
    assert made("vqa", [], max_new_tokens=1) is None
    with pytest.raises(ValueError, match="raise text_mask.max_new_tokens, or set text_mask.constrained=false"):
        made("refer.general", ["a star"], max_new_tokens=5)


def test_confidence_is_that_of_the_free_tokens():
    parts = text_mask_parts("qwen3_vl", "bsd_bricks", 4)
    written = write(parts, [asked("refer.general", 1)], name="bsd_bricks")[0]
    result = parts.model.read(written, (40, 48))
    within, plain = (parts.model.scores(answer, result) for answer in (written, replace(written, constraint=None)))
    assert len(within) == len(plain) == len(result)
    for one, other in zip(within, plain, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-4)
        assert 0 < one.score < 1
        assert len(one.row_minima) >= 1
