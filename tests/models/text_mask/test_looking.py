"""With the question in front of a picture, visual tokens say whether they show what is asked for."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from oracles.small_vlms import Parts, picture, text_mask_parts
from oracles.text_mask_runs import build_run, run_config

from mvplm.data.catalog import get_dataset
from mvplm.data.token_grids import TokenGrids
from mvplm.data.written import WrittenCollate
from mvplm.engine import freeze
from mvplm.models.text_mask.cells import CellTeacher
from mvplm.models.text_mask.looking import LookingTeacher
from mvplm.models.text_mask.model import answer_loss
from mvplm.structures.written import NamedObjects, Turn, WrittenSample
from mvplm.text4seg.build import build_mask_mixture
from mvplm.text4seg.teachers import build_learner

families = pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_vl", "llava", "internvl"])


def question_first(parts: Parts, *, hints: bool = True) -> WrittenCollate:
    settings = parts.model.model.config
    opening = getattr(settings, "vision_start_token_id", None) or settings.image_token_id
    frame = parts.collate.frame
    grids = TokenGrids.of(settings) if hints else None
    return WrittenCollate(
        parts.processor,
        parts.model.tokenizer,
        frame=frame,
        opening=opening,
        grids=grids,
        image_id=settings.image_token_id,
    )


def sample(*, seed: int = 0, side: int = 32, answered: bool = True) -> WrittenSample:
    shown = torch.zeros(1 if seed else 0, side, side, dtype=torch.bool)
    shown[:, : side // 2, : side // 2] = True
    boxes = torch.tensor([[0, 1, 2, 3]])[: len(shown)]
    answer = tuple(range(60, 63 + seed)) if answered else None
    about = torch.tensor([[-1] * 4, [0, 1, 2, 3], [4, 0, 4, 1], [1] * 4]) if answered and seed else None
    question = "the red star left of the ring" if seed else "the ring"
    sketches = torch.tensor([[True, False, False, True, True, False]])[: len(shown)]
    drawn = torch.tensor([-1, 1, 0, 0])[: len(answer)] if answer else None
    turn = Turn(question, answer, (), shown, boxes, about, sketches, drawn)
    return WrittenSample(picture(side, side, seed=seed), seed, "refer.general", (turn,))


def named(given: WrittenSample, parts: Parts) -> WrittenSample:
    """The sample with a star in the upper left quarter of its picture."""
    masks = torch.zeros(1, *given.image.shape[1:], dtype=torch.bool)
    masks[:, : masks.shape[1] // 2, : masks.shape[2] // 2] = True
    star = tuple(parts.model.tokenizer.encode(" star"))
    return replace(given, objects=NamedObjects(masks, (star,)))


def teacher_of(parts: Parts, *, word_weight: float = 0.0, mask_weight: float = 0.0) -> LookingTeacher:
    torch.manual_seed(0)
    image_id = parts.model.model.config.image_token_id
    return LookingTeacher(
        copy.deepcopy(parts.model.model),
        image_id=image_id,
        weight=2.0,
        box_weight=3.0,
        steps=5,
        word_weight=word_weight,
        drawing=(mask_weight, (2, 3)),
    ).eval()


def unit_of(state: torch.Tensor) -> torch.Tensor:
    return state / (state.pow(2).mean() + torch.finfo(torch.float32).eps).sqrt()


@families
def test_the_question_also_stands_in_front_of_the_picture(family: str):
    parts = text_mask_parts(family)
    batch = question_first(parts)([sample(seed=1), sample()])
    image_id = parts.model.model.config.image_token_id
    for row, given in enumerate(batch.samples):
        asked = parts.model.tokenizer.encode(given.turns[0].question)
        ids = batch.inputs["input_ids"][row][batch.inputs["attention_mask"][row].bool()].tolist()
        first = ids.index(image_id)
        front, behind = ids[:first], ids[len(ids) - ids[::-1].index(image_id) :]
        for part in (front, behind):
            assert any(part[place : place + len(asked)] == asked for place in range(len(part)))


@families
def test_tokens_of_covered_cells_are_asked_for(family: str):
    batch = question_first(text_mask_parts(family))([sample(seed=1), sample()])
    per_picture = len(batch.asked) // 2
    side = round(per_picture**0.5)
    grid = batch.asked[:per_picture].reshape(side, side, 2, 2).transpose(1, 2).reshape(2 * side, 2 * side)
    assert grid[:side, :side].all() and int(grid.sum()) == side**2
    assert not batch.asked[per_picture:].any()
    assert batch.to("cpu").asked is not None


@families
def test_the_loss_is_that_of_a_loop(family: str):
    parts = text_mask_parts(family)
    samples = [named(sample(seed=1), parts), named(sample(), parts)]
    teacher, batch = teacher_of(parts, word_weight=0.5), question_first(parts)(samples)
    star = set(samples[0].objects.names[0])
    watched = copy.deepcopy(teacher.model)
    watched.set_attn_implementation("eager")
    with torch.no_grad():
        hint = weights = edges = seen = looks = words = shares = 0.0
        place = 0
        for given in batch.samples:
            alone = question_first(parts)([given])
            # Two layers and what goes into the first: behind the first layer is half way.
            _, half, more = teacher.model(**alone.inputs, output_hidden_states=True).hidden_states
            ids, learned = alone.inputs["input_ids"][0].tolist(), list(given.turns[0].answer)
            start = next(i for i in range(len(ids))[::-1] if ids[i : i + len(learned)] == learned)
            boxes = [] if given.turns[0].about is None else given.turns[0].about.tolist()
            for at, box in enumerate(boxes):
                sure = torch.log_softmax(teacher.steps(unit_of(more[0, start + at])).reshape(4, 5), 1)
                edges -= sum(float(sure[edge, step]) / 4 for edge, step in enumerate(box) if step >= 0)
            below, attended = (layer[0] for layer in watched(**alone.inputs, output_attentions=True).attentions)
            visual = [at for at, token in enumerate(ids) if token == teacher.image_id]
            shows = [at for at, asked in zip(visual, batch.asked[place:].any(1).tolist(), strict=False) if asked]
            for at in shows:
                sure = torch.log_softmax(teacher.steps(unit_of(half[0, at])).reshape(4, 5), 1)
                seen -= sum(float(sure[edge, edge]) / 4 for edge in range(4)) / len(shows)
            if boxes:
                heads = attended[: max(1, len(attended) // 2), start + 1, shows].sum(1)
                looks = -float(heads.log().mean())
            ahead = range(visual[0])
            fitting = [at for at in ahead if ids[at] in star]
            elsewhere = [at for at in range(len(ids)) if at not in ahead]
            for place_of, at in enumerate(visual):
                shown = bool(batch.words[place + place_of, 0] >= 0) and bool(fitting)
                mass = below[: max(1, len(below) // 2), at][:, fitting if shown else elsewhere].sum(1)
                words -= (1.0 if shown else 0.2) * float(mass.log().mean())
                shares += 1.0 if shown else 0.2
            for at in visual:
                unit = unit_of(half[0, at])
                for sure, asked in zip(torch.sigmoid(teacher.asked(unit)), batch.asked[place].tolist(), strict=True):
                    hint -= float((sure if asked else 1 - sure).log()) * (1.0 if asked else 0.2)
                    weights += 1.0 if asked else 0.2
                place += 1
        expected = float(answer_loss(teacher.model, batch)) + 2.0 * hint / weights + 3.0 * (edges / 3 + seen + looks)
        expected += 0.5 * words / shares
        assert place == len(batch.asked) and fitting == [] and (batch.words >= 0).any()
        assert float(teacher.caption_loss(batch)) == pytest.approx(expected, rel=2e-4)


def unlike(scores: torch.Tensor, truth: list[bool]) -> float:
    """Binary cross-entropy of logits, summed."""
    return -sum(
        float((sure if is_so else 1 - sure).log()) for sure, is_so in zip(torch.sigmoid(scores), truth, strict=True)
    )


@families
def test_the_loss_of_what_is_drawn_is_that_of_a_loop(family: str):
    parts = text_mask_parts(family)
    samples = [sample(seed=1), sample()]
    teacher, batch = teacher_of(parts, mask_weight=0.7), question_first(parts)(samples)
    hints = teacher.drawing
    with torch.no_grad():
        states = teacher.model(**question_first(parts)(samples[:1]).inputs, output_hidden_states=True).hidden_states
        ids = question_first(parts)(samples[:1]).inputs["input_ids"][0].tolist()
        painted = samples[0].turns[0].sketches[0].tolist()
        at = next(i for i in range(len(ids))[::-1] if ids[i : i + 4] == [60, 61, 62, 63]) + 1
        # The second token of the answer is about the object, and the second row is written behind it.
        told = unlike(hints.sketch(unit_of(states[2][0, at])), painted) / 2
        told += unlike(hints.row(unit_of(states[2][0, at])), painted[3:])
        told -= float(torch.log_softmax(hints.number(unit_of(states[1][0, at])), 0)[1])
        shows = [i for i, token in enumerate(ids) if token == teacher.image_id]
        asked = batch.asked[: len(shows)].any(1).tolist()
        seen = [
            unlike(hints.sketch(unit_of(states[1][0, i])), painted) / 2
            for i, so in zip(shows, asked, strict=True)
            if so
        ]
        expected = 0.7 * (told + sum(seen) / len(seen))
        with_them = float(teacher.caption_loss(batch))
        teacher.mask_weight = 0.0
        assert with_them - float(teacher.caption_loss(batch)) == pytest.approx(expected, rel=1e-3)


def test_tokens_that_spell_edges_count_more():
    parts = text_mask_parts("qwen3_vl")
    batch = question_first(parts)([sample(seed=1), sample()])
    model, edges = parts.model.model, (60, 62)
    counts = torch.ones(len(model.get_output_embeddings().weight)).index_fill(0, torch.tensor(edges), 3.0)
    teacher = LookingTeacher(copy.deepcopy(model), image_id=model.config.image_token_id, counts=counts).eval()
    plain = LookingTeacher(copy.deepcopy(model), image_id=model.config.image_token_id).eval()
    plain.asked.load_state_dict(teacher.asked.state_dict())
    with torch.no_grad():
        scores = model(**batch.inputs).logits.log_softmax(-1)
        total = count = 0.0
        for row, learned in enumerate(batch.labels):
            for at, token in enumerate(learned.tolist()):
                if token >= 0:
                    weight = 3.0 if token in edges else 1.0
                    total, count = total - weight * float(scores[row, at - 1, token]), count + weight
        difference = teacher.caption_loss(batch) - plain.caption_loss(batch)
        assert float(difference) == pytest.approx(total / count - float(answer_loss(model, batch)), abs=2e-5)


def test_visual_tokens_learn_what_is_asked_for():
    parts = text_mask_parts("qwen3_vl")
    teacher, batch = teacher_of(parts).train(), question_first(parts)([sample(seed=1), sample()])
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        loss = teacher.caption_loss(batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * losses[0]
    assert teacher.asked.weight.grad.abs().max() > 0


@families
def test_half_of_the_layers_tell_as_much_without_answers(family: str):
    parts = text_mask_parts(family)
    samples, collate = [sample(seed=1), sample()], question_first(parts)
    teacher, whole = teacher_of(parts), collate(samples)
    whole.about.fill_(-1)
    expected = teacher.caption_loss(whole) - answer_loss(teacher.model, whole)
    half = LookingTeacher(teacher.model, image_id=teacher.image_id, answers=False, box_weight=1.5, steps=5).eval()
    half.asked.load_state_dict(teacher.asked.state_dict())
    half.steps.load_state_dict(teacher.steps.state_dict())
    heads = collate.heads([sample(seed=1, answered=False), sample(answered=False)])
    assert heads.labels is None and torch.equal(heads.asked, whole.asked)
    assert int(heads.inputs["attention_mask"].sum()) < int(whole.inputs["attention_mask"].sum())
    loss = half.caption_loss(heads)
    assert 2.0 * float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4)
    loss.backward()
    assert len(teacher.model.get_decoder().layers) == 2
    reached = {name for name, p in half.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert any("language_model.layers.0." in name for name in reached)
    assert not any("language_model.layers.1." in name for name in reached)


def test_one_layer_has_no_half():
    model = copy.deepcopy(text_mask_parts("qwen3_vl").model.model)
    model.get_decoder().layers = model.get_decoder().layers[:1]
    with pytest.raises(ValueError, match="one layer is too few"):
        LookingTeacher(model, image_id=1)


def test_what_was_frozen_before_stays_so():
    model = copy.deepcopy(text_mask_parts("qwen3_vl").model.model)
    freeze(model, ["model.visual.blocks"])
    for teacher in (LookingTeacher(model, image_id=1, answers=False), CellTeacher(model, steps=3)):
        learns = {name for name, p in teacher.named_parameters() if p.requires_grad}
        assert not any("visual.blocks" in name for name in learns)
        assert any("visual.merger" in name for name in learns)


def test_what_is_not_told_is_named():
    parts = text_mask_parts("qwen3_vl")
    untold = replace(sample(), turns=(Turn("the ring", (60, 61)),))
    with pytest.raises(ValueError, match="image 0: refer.general does not tell where what is asked for can be seen"):
        question_first(parts)([untold])
    with pytest.raises(ValueError, match="which visual tokens show what is asked for"):
        teacher_of(parts).caption_loss(question_first(parts, hints=False)([sample()]))
    with pytest.raises(ValueError, match="names of what visual tokens show"):
        teacher_of(parts, word_weight=1.0).caption_loss(question_first(parts)([sample()]))


@families
def test_open_questions_are_answered_as_if_alone(family: str):
    parts = text_mask_parts(family)
    collate = question_first(parts)
    batch = collate([sample(seed=1, answered=False), sample(answered=False)])
    assert len(batch.rows) == 2 and batch.inputs["input_ids"].shape[0] == 2
    together = parts.model.write(batch, max_new_tokens=12, constrained=False)
    for given, written in zip(batch.samples, together, strict=True):
        alone = parts.model.write(collate([given]), max_new_tokens=12, constrained=False)[0]
        whole = WrittenCollate(
            parts.processor, parts.model.tokenizer, frame=collate.frame, opening=collate.opening, whole=True
        )([given])
        with torch.no_grad():
            first = int(parts.model.model(**whole.inputs).logits[0, -1].argmax())
        assert written.ids == alone.ids
        assert written.ids[0] == first


@families
def test_answers_are_written_without_pictures_as_with_them(family: str):
    parts = text_mask_parts(family)
    samples, collate = [sample(seed=1), sample()], question_first(parts)
    alone = [replace(given, pictured=False) for given in samples]
    whole, texts = collate(samples), collate(alone)
    assert whole.pictured and not texts.pictured and collate.heads(alone).tail == texts.tail
    image_id = parts.model.model.config.image_token_id
    for row in range(2):
        given, left = (
            batch.inputs["input_ids"][row][batch.inputs["attention_mask"][row].bool()] for batch in (whole, texts)
        )
        assert left.tolist() == [token for token in given.tolist() if token != image_id]
        assert texts.labels[row, -whole.tail :].tolist() == whole.labels[row, -whole.tail :].tolist()
    assert texts.tail == whole.tail and set(texts.inputs) == {"input_ids", "attention_mask"}
    loss = parts.model.caption_loss(texts)
    teacher = teacher_of(parts, mask_weight=0.7)
    with torch.no_grad():
        logits = parts.model.model(**texts.inputs).logits.log_softmax(-1)
        learned = [(row, at) for row, at in (texts.labels >= 0).nonzero().tolist()]
        expected = -sum(float(logits[row, at - 1, texts.labels[row, at]]) for row, at in learned) / len(learned)
        states = teacher.model(**texts.inputs, output_hidden_states=True).hidden_states[1]
        told = [(row, at) for row, at in (texts.drawn >= 0).nonzero().tolist()]
        sure = [torch.log_softmax(teacher.drawing.number(unit_of(states[row, at])), 0) for row, at in told]
        number = -sum(float(one[texts.drawn[row, at]]) for one, (row, at) in zip(sure, told, strict=True)) / len(told)
    assert len(told) == 5 and float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(teacher.caption_loss(texts).detach()) == pytest.approx(expected + number, rel=1e-4)


@pytest.mark.parametrize("bins", [24, 1000])
def test_boxes_of_any_number_of_steps_can_be_told(tmp_path: Path, bins: int):
    settings = (
        "text_mask.prompt_order=text_first",
        "text_mask.looking=1.0",
        "text_mask.box_hints=1.0",
        "text_mask.word_hints=1.0",
        "text_mask.mask_hints=1.0",
        f"text_mask.bins={bins}",
    )
    config, system = run_config(tmp_path, *settings), build_run(tmp_path, *settings)
    teacher = build_learner(system, config)
    _, batch = next(build_mask_mixture(config, system).batches(0))
    words = {int(word) for word in batch.words.flatten() if word >= 0}
    names = get_dataset("scenes/train", role="referring", num=1, seed=7, size=96).vocabulary.names
    assert words and words <= {word for name in names for word in system.tokenizer.encode(f" {name}")}
    assert batch.about.max() <= bins and teacher.steps.weight.shape[0] == 4 * (bins + 1)
    teacher.caption_loss(batch).backward()
    assert batch.sketches.shape == (len(batch.boxes), 64) and batch.drawn.max() == 7
    assert batch.sketches[batch.boxes[:, 0] >= 0].any(1).all() and not batch.sketches[batch.boxes[:, 0] < 0].any()
    for layer in (teacher.steps, teacher.drawing.sketch, teacher.drawing.number, teacher.drawing.row):
        assert layer.weight.grad.abs().max() > 0
