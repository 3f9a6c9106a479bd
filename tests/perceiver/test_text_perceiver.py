"""Asking models that write masks: the same questions and results as the other system, and directories that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.small_vlms import text_mask_parts
from oracles.text_mask_runs import build_run, run_config, save_base

import mvplm
from mvplm.models.text_mask.reading import Asked, perceive_answer
from mvplm.models.text_mask.writing import Written
from mvplm.prompts.chat import ChatFrame
from mvplm.questions import Question
from mvplm.structures.written import Turn
from mvplm.text4seg.build import TextMaskSystem, build_text_mask
from mvplm.text4seg.files import load_text_perceiver
from mvplm.text4seg.perceiver import TextPerceiver
from mvplm.writing_perceiver import record_of

SIZE = (96, 80)


@pytest.fixture(scope="module")
def perceiver(tmp_path_factory: pytest.TempPathFactory) -> TextPerceiver:
    folder = tmp_path_factory.mktemp("run")
    return TextPerceiver(build_run(folder), config=run_config(folder))


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def masks() -> np.ndarray:
    """Two rectangles on SIZE."""
    found = np.zeros((2, *SIZE), bool)
    found[0, 10:40, 20:60] = True
    found[1, 50:90, 0:30] = True
    return found


def told(perceiver: TextPerceiver, text: str, asked: Asked, *, sure: float = 0.5):
    """The result of a text, as if the model had written it."""
    from mvplm.data.mask_mapper import answer_ids

    ids = answer_ids(text, perceiver.system.tokenizer, codec=perceiver.model.codec)
    written = Written(ids, [float(np.log(sure))] * len(ids), [True] * len(ids), True)
    return perceive_answer(perceiver.model, written, asked=asked)


def iou(one: torch.Tensor, other: np.ndarray) -> float:
    one = one.numpy()
    return float((one & other).sum() / (one | other).sum())


def test_expressions_lists_and_batches_answer_in_the_shape_they_were_asked(perceiver: TextPerceiver):
    one = perceiver.predict(picture(), text="the red star")
    assert (one.size, one.task, one.query) == (SIZE, "referring", ["the red star"])
    assert one.written.status in ("ok", "repaired", "truncated", "unparsed", "invalid", "no_target")
    assert one.instances.masks.shape[1:] == SIZE
    several = perceiver.predict(picture(), text=["a", "b", "c"])
    assert [answer.query for answer in several] == [["a"], ["b"], ["c"]]
    grid = perceiver.predict([picture(0), picture(1, (64, 112))], text=["a", "b"], batch_size=3)
    assert [[answer.size for answer in row] for row in grid] == [[SIZE] * 2, [(64, 112)] * 2]
    for task in ("instance", "panoptic", "semantic", "detection"):
        answer = perceiver.predict(picture(), classes=["star", "sky"], task=task, stuff=["sky"])
        assert answer.query == ["star", "sky"]
        json.dumps(answer.to_dict())


def test_answers_do_not_depend_on_the_batch(perceiver: TextPerceiver):
    pictures = [picture(seed, size) for seed, size in enumerate([SIZE, (64, 112), (96, 96)])]
    alone = [perceiver.predict(image, text="the ring") for image in pictures]
    together = perceiver.predict(pictures[::-1], text="the ring", batch_size=3)[::-1]
    assert [answer.written.text for answer in alone] == [answer.written.text for answer in together]


@pytest.mark.parametrize(
    ("kind", "codec", "grid"), [("qwen2_vl", "bsd_bricks", 6), ("qwen3_vl", "canvas", 4), ("qwen3_vl", "isd_rrle", 4)]
)
def test_random_weights_always_give_answers_that_can_be_read(kind: str, codec: str, grid: int, tmp_path: Path):
    parts = text_mask_parts(kind, codec, grid)
    frame = ChatFrame.of(parts.processor, parts.model.tokenizer)
    config = run_config(tmp_path, f"text_mask.codec={codec}", f"text_mask.grid={grid}", "text_mask.max_new_tokens=180")
    untrained = TextPerceiver(TextMaskSystem(parts.model, parts.processor, frame, parts.new), config=config)
    asked = [{"text": ["the red star", "a ring"], "task": task} for task in ("referring", "reason.multi")]
    asked += [{"text": ["a star"], "task": "ground"}] if codec != "isd_rrle" else []
    answers = [answer for question in asked for answer in untrained.predict(picture(), **question)]
    answers += [untrained.predict(picture(), classes=["star", "sky"], task=task) for task in ("instance", "semantic")]
    for answer in answers:
        assert answer.written.status in ("ok", "no_target"), answer.written
        assert answer.written.repairs == {}
        assert answer.written.finished
        assert answer.no_target == (not len(answer.instances))
    json.dumps([answer.to_dict() for answer in answers])


def test_a_plain_question_is_asked_as_it_is_and_answered_in_words(perceiver: TextPerceiver):
    answer = perceiver.predict(picture(), text="How many stars?", task="vqa")
    assert (answer.caption, answer.written.status) == (answer.written.text, "ok")
    asked = perceiver.mapper("vqa")(record_of(picture(), Question(expression="How many stars?"), task="vqa"))
    assert asked.turns == (Turn("How many stars?"),)


def test_a_picture_is_kept_for_later_questions(perceiver: TextPerceiver, monkeypatch: pytest.MonkeyPatch):
    expected = perceiver.predict(picture(), text=["a star", "the ring"])
    with pytest.raises(ValueError, match="call set_image"):
        perceiver.predict(text="a star")
    perceiver.set_image(picture())
    monkeypatch.setattr(perceiver, "read", None)
    for _ in range(2):
        again = perceiver.predict(text=["a star", "the ring"], batch_size=1)
        assert [answer.written for answer in again] == [answer.written for answer in expected]
    monkeypatch.undo()
    perceiver._current = None


def test_wrong_questions_name_what_would_be_right(perceiver: TextPerceiver):
    with pytest.raises(ValueError, match="did you mean 'refer.general'"):
        perceiver.predict(picture(), text="a", task="refer.generl")
    with pytest.raises(ValueError, match="either classes"):
        perceiver.predict(picture())
    with pytest.raises(ValueError, match="cannot be asked about boxes"):
        perceiver.predict(picture(), boxes=[[0, 0, 5, 5]])
    with pytest.raises(ValueError, match="does not go with classes"):
        perceiver.predict(picture(), classes=["a"], task="referring")


def test_an_answer_becomes_instances_with_boxes_masks_labels_and_scores(perceiver: TextPerceiver):
    text = perceiver.model.codec.encode(masks(), ["the star", "the star"])
    found = told(perceiver, text, Asked("referring", SIZE, ("the star",)))
    assert found.written.status == "ok"
    assert found.written.text == text
    assert found.instances.labels == ["the star"] * 2
    assert found.instances.scores.tolist() == pytest.approx([0.25, 0.25])
    assert max(iou(found.instances.masks[0], mask) for mask in masks()) > 0.9
    assert found.instances.boxes.tolist()[0] in ([0, 48, 30, 90], pytest.approx([0, 49.92, 30, 90.048], abs=0.1))
    assert not found.no_target


def test_no_target_unreadable_and_emptied_answers_are_told_apart(perceiver: TextPerceiver):
    asked = Asked("referring", SIZE, ("the star",))
    nothing = told(perceiver, "No object in the image matches the request.", asked)
    assert (nothing.no_target, nothing.written.status, len(nothing.instances)) == (True, "no_target", 0)
    rubbish = told(perceiver, "the star the star", asked)
    assert (rubbish.no_target, rubbish.written.status) == (False, "unparsed")
    box = "<ref>the star</ref><box>[[100 100 500 500]]</box>"
    grounded = told(perceiver, box, Asked("rec", SIZE, ("the star",), box_only=True))
    assert (grounded.written.status, grounded.no_target, grounded.instances.masks) == ("ok", False, None)
    assert grounded.instances.boxes[0].tolist() == pytest.approx([8, 9.6, 40, 48])
    assert told(perceiver, box, asked).written.status == "invalid"


def test_labels_are_resolved_to_the_names_that_were_asked(perceiver: TextPerceiver):
    text = perceiver.model.codec.encode(masks(), ["Stars", "moon"])
    found = told(perceiver, text, Asked("instance", SIZE, ("sky", "star"), (False, True), listed=True))
    assert found.instances.labels == ["star"]
    assert found.instances.class_index.tolist() == [1]
    assert found.written.repairs == {"label_unknown": 1}
    assert found.written.status == "repaired"
    named = told(perceiver, text, Asked("referring", SIZE, ("the dog",)))
    assert named.written.repairs == {"label_mismatch": 2}
    assert len(named.instances) == 2


def test_maps_give_every_pixel_to_the_best_instance(perceiver: TextPerceiver):
    overlapping = masks()
    overlapping[1] = True
    text = perceiver.model.codec.encode(overlapping, ["star", "sky"])
    semantic = told(perceiver, text, Asked("semantic", SIZE, ("star", "sky"), (True, False), listed=True)).semantic
    assert set(semantic.class_map.unique().tolist()) <= {0, 1}
    panoptic = told(perceiver, text, Asked("panoptic", SIZE, ("star", "sky"), (True, False), listed=True)).panoptic
    assert sum(segment.area for segment in panoptic.segments) == SIZE[0] * SIZE[1]
    assert {segment.label: segment.isthing for segment in panoptic.segments} in (
        {"star": True, "sky": False},
        {"star": True},
    )


def test_a_saved_directory_answers_the_same(perceiver: TextPerceiver, tmp_path: Path):
    folder = perceiver.save(tmp_path / "saved")
    expected = perceiver.predict(picture(), text="the red <seg> star").written
    for loaded in (mvplm.load(folder), mvplm.load("text4seg++", model=folder)):
        assert loaded.predict(picture(), text="the red <seg> star").written == expected
    with pytest.raises(ValueError, match="load it as 'text4seg\\+\\+'"):
        mvplm.load("text4seg", model=folder)
    with pytest.raises(ValueError, match="did you mean 'text4seg"):
        mvplm.load("text4sec", model=folder)


def test_a_directory_with_other_tokens_or_another_profile_is_refused(perceiver: TextPerceiver, tmp_path: Path):
    folder = perceiver.save(tmp_path / "saved")
    stored = json.loads((folder / "text_mask.json").read_text())
    for key, value in (
        ("tokenizer_sha256", "0"),
        ("template_version", 0),
        ("grid", [9, 9]),
        ("codec", "bsd_bricks"),
        ("bins", 9),
    ):
        (folder / "text_mask.json").write_text(json.dumps({**stored, key: value}))
        with pytest.raises(ValueError, match=f"is not what it was saved as: {key}"):
            load_text_perceiver(folder)


@pytest.mark.parametrize("name", ["text4seg", "text4seg++"])
def test_a_base_model_gets_the_tokens_of_the_system(name: str, tmp_path: Path):
    base = save_base(tmp_path / "base")
    loaded = mvplm.load(name, model=base)
    assert loaded.model.codec.name == {"text4seg": "isd_rrle", "text4seg++": "bsd_bricks"}[name]
    assert len(loaded.system.new_tokens) == (132 if name == "text4seg++" else 0)
    loaded.config.text_mask.max_new_tokens = 6
    with pytest.raises(ValueError, match="raise text_mask.max_new_tokens"):
        loaded.predict(picture(), text="the star")
    loaded.config.text_mask.constrained = False
    assert loaded.predict(picture(), text="the star").written.tokens == 6
    with pytest.raises(ValueError, match="cannot be read as a multimodal model"):
        mvplm.load(name, model=tmp_path / "nothing")


def test_adapters_are_saved_beside_the_name_of_their_base(tmp_path: Path):
    base = save_base(tmp_path / "base")
    overrides = (f"text_mask.base={base}", "text_mask.lora={rank: 4, alpha: 8}", "text_mask.small.image=64")
    config = run_config(tmp_path / "run", *overrides)
    torch.manual_seed(0)
    system = build_text_mask(config)
    trained = {name for name, p in system.model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name or "trainable_tokens" in name for name in trained)
    assert not any("visual" in name for name in trained)
    assert any("trainable_tokens" in name for name in trained)
    with torch.no_grad():
        for parameter in system.model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    perceiver = TextPerceiver(system, config=config)
    expected = perceiver.predict(picture(), text="the star").written
    folder = perceiver.save(tmp_path / "saved")
    assert not (folder / "model").exists()
    assert mvplm.load(folder).predict(picture(), text="the star").written == expected
    fresh = TextPerceiver(build_text_mask(config), config=config)
    assert fresh.predict(picture(), text="the star").written != expected
