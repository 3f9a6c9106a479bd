"""Asking models that write boxes: the same questions and results as the other systems, and directories that hold."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles.box_perceivers import box_config, save_tiny_base, tiny_box_perceiver

import mvplm
from mvplm.models.qwen3vl_seg.reading import decode_answers, perceive_boxes, read_ids
from mvplm.models.qwen3vl_seg.writing import WrittenBoxes
from mvplm.models.text_mask.reading import Asked
from mvplm.models.text_mask.writing import Written
from mvplm.prompts.box_masks import answer_ids, format_boxes
from mvplm.qwen3vl_seg.build import build_box_mask
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver
from mvplm.structures import BoxPrompts

SIZE = (70, 101)
BOXES = [[10.0, 5.0, 60.0, 50.0], [40.0, 20.0, 101.0, 70.0], [0.0, 0.0, 20.0, 69.5]]


@pytest.fixture(scope="module")
def perceiver() -> BoxPerceiver:
    return tiny_box_perceiver()


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)


def same(one, other) -> bool:
    """Whether two perceptions say the same, scores up to rounding."""
    first, second = one.instances, other.instances
    return (
        one.written.text == other.written.text
        and torch.equal(first.boxes, second.boxes)
        and torch.allclose(first.scores, second.scores, atol=1e-5)
        and torch.equal(first.masks, second.masks)
    )


def told(perceiver: BoxPerceiver, text: str, asked: Asked, *, lost: int = 0, tail=()):
    """The result of a text, as if the model had written it, the states of ``lost`` mask tokens not caught."""
    ids = [*answer_ids(text, perceiver.system.tokenizer), *tail]
    mask_id = perceiver.system.mask_id
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(ids.count(mask_id) - lost, 32, generator=generator)
    perceiver.set_image(picture())
    image = perceiver._current.prefix.image
    written = WrittenBoxes(Written(ids, [float(np.log(0.5))] * len(ids), [True] * len(ids), True), image, states)
    parsed = read_ids(ids, asked.size, tokenizer=perceiver.system.tokenizer, mask_id=mask_id)
    (read,) = decode_answers(perceiver.model.mask_decoder, [written], parsed=[parsed], sizes=[asked.size], texts=[text])
    return perceive_boxes(read, asked)


def test_questions_are_answered_in_the_shape_they_were_asked(perceiver: BoxPerceiver):
    one = perceiver.predict(picture(), text="the red star")
    assert (one.size, one.task, one.query) == (SIZE, "referring", ["the red star"])
    assert one.written.status in ("ok", "no_target") and one.written.finished
    assert one.no_target == (one.written.status == "no_target")
    assert one.instances.masks.shape == (len(one.instances), *SIZE)
    several = perceiver.predict(picture(), text=["a", "b", "c"])
    assert [answer.query for answer in several] == [["a"], ["b"], ["c"]]
    grid = perceiver.predict([picture(0), picture(1, (64, 160))], text=["a", "b"], batch_size=3)
    assert [[answer.size for answer in row] for row in grid] == [[SIZE] * 2, [(64, 160)] * 2]
    for task in ("panoptic", "semantic", "detection"):
        answer = perceiver.predict(picture(), classes=["star", "sky"], task=task, stuff=["sky"])
        assert answer.query == ["star", "sky"]
        json.dumps(answer.to_dict())
    assert perceiver.predict(picture(), text="What is this?", task="vqa").caption is not None
    boxes = perceiver.predict(picture(), text="the ring", task="rec")
    assert boxes.instances.masks is None and "mask" not in boxes.written.text


def test_answers_do_not_depend_on_the_batch(perceiver: BoxPerceiver):
    pictures = [picture(seed, size) for seed, size in enumerate([SIZE, (64, 160), (33, 33)])]
    alone = [perceiver.predict(image, text="the ring") for image in pictures]
    together = perceiver.predict(pictures[::-1], text="the ring", batch_size=3)[::-1]
    assert sum(len(answer.instances) for answer in alone) > 1
    assert all(same(first, second) for first, second in zip(alone, together, strict=True))


def test_a_picture_that_is_set_is_seen_once(perceiver: BoxPerceiver):
    expected = perceiver.predict(picture(), text=["the ring", "a star"])
    counted = []
    hook = perceiver.model.base.model.visual.register_forward_hook(lambda *_: counted.append(1))
    found = perceiver.set_image(picture()).predict(text=["the ring", "a star"])
    given = perceiver.predict(boxes=BOXES, text="a star")
    hook.remove()
    assert counted == [1]
    assert all(same(first, second) for first, second in zip(expected, found, strict=True))
    assert same(perceiver.predict(picture(), boxes=BOXES, text="a star"), given)
    with pytest.raises(ValueError, match="needs box_mask.prompt_order 'image_first'"):
        tiny_box_perceiver("box_mask.prompt_order=text_first").set_image(picture())
    with pytest.raises(ValueError, match="set_image"):
        tiny_box_perceiver().predict(text="a")


def test_answers_that_are_not_constrained_are_read_as_they_come():
    free = tiny_box_perceiver("box_mask.constrained=false", "box_mask.max_new_tokens=8")
    found = free.predict(picture(), text="a star")
    assert (found.written.status, found.unparsed, found.no_target) == ("invalid", True, False)
    assert len(found.instances) == 0 and found.instances.masks.shape == (0, *SIZE)
    assert same(free.set_image(picture()).predict(text="a star"), found)


def test_given_boxes_are_decoded_in_their_order(perceiver: BoxPerceiver):
    found = perceiver.predict(picture(), boxes=BOXES, classes=["star"])
    assert found.instances.boxes.tolist() == BOXES
    assert found.instances.labels == ["star"] * 3 and found.instances.masks.shape == (3, *SIZE)
    turned = perceiver.predict(picture(), boxes=BOXES[::-1], classes=["star"])
    assert torch.equal(turned.instances.masks.flip(0), found.instances.masks)
    named = BoxPrompts(BOXES, ["star", "ring", "star"])
    pair = perceiver.predict([picture(), picture(1, (64, 160))], boxes=[named, named])
    assert [p.instances.labels for p in pair] == [["star", "ring", "star"]] * 2
    assert same(perceiver.predict(picture(), boxes=named), pair[0])
    with pytest.raises(ValueError, match="a name for each box"):
        perceiver.predict(picture(), boxes=BOXES, classes=["star", "ring"])
    with pytest.raises(ValueError, match="lies outside"):
        perceiver.predict(picture(), boxes=[[200, 200, 210, 210]])


def test_the_order_of_question_and_picture_changes_the_prompt():
    late = tiny_box_perceiver("box_mask.prompt_order=text_first")
    sample = late.mapper("referring")
    from mvplm.questions import Question
    from mvplm.writing_perceiver import record_of

    asked = sample(record_of(picture(), Question(expression="a star")))
    first, second = (p.collate([asked]).inputs["input_ids"][0].tolist() for p in (tiny_box_perceiver(), late))
    question = late.system.tokenizer.encode(asked.turns[0].question)
    assert second == [*question, *first]
    assert late.predict(picture(), text="a star").written.status in ("ok", "no_target")


def test_boxes_masks_and_labels_of_an_answer(perceiver: BoxPerceiver):
    text = format_boxes(torch.tensor(BOXES), ["Stars", "moon", "star"], size=SIZE)
    found = told(perceiver, text, Asked("instance", SIZE, ("sky", "star"), (False, True), listed=True))
    assert found.instances.labels == ["star", "star"] and found.instances.class_index.tolist() == [1, 1]
    assert found.written.status == "recovered" and found.written.repairs == {"label_unknown": 1}
    assert found.unmasked is None and found.instances.scores.tolist() == sorted(found.instances.scores.tolist())[::-1]
    sentence = told(perceiver, text, Asked("referring", SIZE, ("the thing",)))
    assert sorted(sentence.instances.labels) == ["Stars", "moon", "star"] and sentence.written.status == "ok"


def test_each_box_keeps_its_own_mask_token(perceiver: BoxPerceiver):
    """The middle object is dropped, thoughts hold a token of their own: the others still use theirs."""
    ids = answer_ids(format_boxes(torch.tensor(BOXES), ["a", "b", "c"], size=SIZE), perceiver.system.tokenizer)
    tokenizer, mask_id = perceiver.system.tokenizer, perceiver.system.mask_id
    thought = [*tokenizer.encode("<think> maybe "), mask_id, *tokenizer.encode(" </think>")]
    assert read_ids([*thought, *ids], SIZE, tokenizer=tokenizer, mask_id=mask_id).mask_index == [1, 2, 3]
    text = tokenizer.decode(ids).replace("[396, 285, 1000, 1000]", "[396, 285, 396, 1000]")
    dropped = read_ids(answer_ids(text, tokenizer), SIZE, tokenizer=tokenizer, mask_id=mask_id)
    assert (dropped.mask_index, dropped.labels, dropped.repairs) == ([0, 2], ["a", "c"], {"zero_area": 1})
    spelled = '[{"bbox_2d": [1, 2, 3, 4], "label": "a", "mask": "<mask_start><mask_token><mask_end>"}]'
    found = read_ids(tokenizer.encode(spelled), SIZE, tokenizer=tokenizer, mask_id=mask_id)
    assert (found.mask_index, found.status, found.repairs) == ([None], "recovered", {"mask_missing": 1})


def test_boxes_without_a_mask_never_become_black_masks(perceiver: BoxPerceiver):
    asked = Asked("referring", SIZE, ("x",))
    text = format_boxes(torch.tensor(BOXES), ["a", "b", "c"], size=SIZE)
    found = told(perceiver, text, asked, lost=1)
    assert len(found.instances) == 2 and found.unmasked.labels == ["c"]
    assert found.unmasked.scores.tolist() == pytest.approx([0.5])
    assert "unmasked" in found.to_dict()
    bare = told(perceiver, format_boxes(torch.tensor(BOXES), ["a", "b", "c"], size=SIZE, masks=False), asked)
    assert len(bare.instances) == 0 and len(bare.unmasked) == 3 and not bare.no_target
    boxes = told(perceiver, text, Asked("detection", SIZE, ("a", "b", "c"), (True,) * 3, listed=True), lost=1)
    assert len(boxes.instances) == 3 and boxes.instances.masks is None
    for rubbish in ("the star", '[{"label": "x"}]'):
        invalid = told(perceiver, rubbish, asked)
        assert (invalid.written.status, invalid.unparsed, len(invalid.instances)) == ("invalid", True, 0)
    nothing = told(perceiver, "[]", asked)
    assert (nothing.no_target, nothing.written.status) == (True, "no_target")


def test_wrong_questions_name_what_would_be_right(perceiver: BoxPerceiver):
    with pytest.raises(ValueError, match="did you mean 'reason'"):
        perceiver.predict(picture(), text="a", task="reasn")
    with pytest.raises(ValueError, match="either classes"):
        perceiver.predict(picture())
    samples = [perceiver.mapper(task)(_record()) for task in ("referring", "rec")]
    with pytest.raises(ValueError, match="answers of one kind, got masks, rec"):
        perceiver.look(perceiver.collate(samples))


def _record():
    from mvplm.questions import Question
    from mvplm.writing_perceiver import record_of

    return record_of(picture(), Question(expression="a"))


def test_a_saved_directory_answers_the_same(perceiver: BoxPerceiver, tmp_path: Path):
    folder = perceiver.save(tmp_path / "saved")
    assert (folder / "decoder.safetensors").is_file() and (folder / "model").is_dir()
    expected = perceiver.predict(picture(), text="the red star")
    assert len(expected.instances)
    for loaded in (mvplm.load(folder), mvplm.load("qwen3vl-seg", model=folder)):
        assert isinstance(loaded, BoxPerceiver)
        assert same(loaded.predict(picture(), text="the red star"), expected)
    with pytest.raises(ValueError, match="did you mean 'qwen3vl-seg'"):
        mvplm.load("qwen3vlseg", model=folder)
    stored = json.loads((folder / "box_mask.json").read_text())
    for key, value in (("tokenizer_sha256", "0"), ("template_version", 0), ("prompt_order", "text_first")):
        (folder / "box_mask.json").write_text(json.dumps({**stored, key: value}))
        with pytest.raises(ValueError, match=f"is not what it was saved as: {key}"):
            mvplm.load(folder)


@pytest.mark.parametrize("how", ["lora={rank: 4, alpha: 8}", "frozen_base=true"])
def test_adapters_and_decoder_are_saved_beside_the_name_of_their_base(how: str, tmp_path: Path):
    base = save_tiny_base(tmp_path / "base")
    perceiver = tiny_box_perceiver(f"box_mask.base={base}", f"box_mask.{how}")
    trained = {name for name, p in perceiver.model.base.named_parameters() if p.requires_grad}
    assert any("trainable_tokens" in name for name in trained)
    assert any("lora_" in name for name in trained) == how.startswith("lora")
    vision = next(p for name, p in perceiver.model.base.named_parameters() if "visual.blocks.0.attn.qkv" in name)
    vision.requires_grad_(True)
    with torch.no_grad():
        for parameter in perceiver.model.base.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    expected = perceiver.predict(picture(), text="the star")
    folder = perceiver.save(tmp_path / "saved")
    assert not (folder / "model").exists() and (folder / "trained.safetensors").is_file()
    loaded = mvplm.load(folder)
    assert same(loaded.predict(picture(), text="the star"), expected)
    again = mvplm.load(loaded.save(tmp_path / "again"))
    assert same(again.predict(picture(), text="the star"), expected)
    config = (folder / "config.yaml").read_text()
    wide = save_tiny_base(tmp_path / "wide", width=64)
    (folder / "config.yaml").write_text(config.replace(str(base), str(wide)))
    with pytest.raises(ValueError, match=f"made for a base of width 32, {wide} has width 64"):
        mvplm.load(folder)


def test_a_base_model_gets_mask_tokens_and_never_shrinks(tmp_path: Path):
    base = save_tiny_base(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    loaded = mvplm.load("qwen3vl-seg", model=base)
    table = loaded.model.base.get_input_embeddings().weight
    first, _, last = loaded.system.new_tokens
    # Spare rows are used and none is cut.
    assert len(table) == config["text_config"]["vocab_size"] > last + 1 and last == first + 2
    words = loaded.system.tokenizer.encode("end of mask")
    assert torch.allclose(table[last], table[words].mean(0), atol=1e-6)
    # Two deepstack levels are one here, plus the final map.
    assert loaded.model.mask_decoder.levels == 2 and loaded.model.mask_decoder.settings.width == 256
    with pytest.raises(ValueError, match="cannot be read as a multimodal model"):
        mvplm.load("qwen3vl-seg", model=tmp_path / "nothing")


@pytest.mark.parametrize("frame", ["image", "box"])
def test_the_frame_of_the_gate_is_a_setting_and_is_saved(frame: str, tmp_path: Path):
    perceiver = tiny_box_perceiver(f"box_mask.decoder.gate_frame={frame}")
    assert perceiver.model.mask_decoder.pixels.frame == frame
    assert mvplm.load(perceiver.save(tmp_path / "saved")).model.mask_decoder.pixels.frame == frame


def test_settings_that_do_not_fit_are_told_at_once():
    with pytest.raises(ValueError, match="patch \\* merge 32"):
        box_config("box_mask.small.patch=8")
    with pytest.raises(ValueError, match="did you mean 'image'"):
        box_config("box_mask.decoder.gate_frame=imag")
    with pytest.raises(ValueError, match="groups must divide"):
        build_box_mask(box_config("box_mask.decoder.groups=3"))


def test_the_commands_take_it_like_any_other(perceiver: BoxPerceiver, tmp_path: Path, capsys: pytest.CaptureFixture):
    from PIL import Image

    from mvplm.cli import main

    folder, photo = perceiver.save(tmp_path / "saved"), tmp_path / "photo.png"
    Image.fromarray(picture()).save(photo)
    out = ["--out", str(tmp_path / "out")]
    assert main(["predict", str(photo), "--text", "the star", "--model", str(folder), "--device", "cpu", *out]) == 0
    told = json.loads((tmp_path / "out" / "photo.json").read_text())
    assert told["written"]["status"] in ("ok", "no_target") and (tmp_path / "out" / "photo.png").is_file()
    sets = {
        "a": {"dataset": "scenes/val", "options": {"role": "referring", "num": 2, "size": 96}, "task": "gres"},
        "b": {"dataset": "scenes/val", "options": {"num": 2, "size": 96}, "task": "detection"},
        "c": {"dataset": "scenes/val", "options": {"role": "referring", "num": 1, "size": 96}, "task": "rec"},
        "d": {"dataset": "scenes/val", "options": {"num": 1, "size": 96}, "task": "panoptic"},
    }
    sets["c"]["prefix"] = "boxes"
    file = tmp_path / "eval.yaml"
    file.write_text(json.dumps({"eval": {"batch_size": 3, "sets": sets}}))
    arguments = ["--config-file", str(file), "--weights", str(folder), "--no-intervals", *out]
    assert main(["evaluate", *arguments]) == 0, capsys.readouterr().err
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"panoptic/PQ", "boxes/Acc@0.5"} <= {*metrics["metrics"]}, metrics["metrics"]


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (33, 77)])
def test_pictures_of_any_size_and_turn(perceiver: BoxPerceiver, size: tuple[int, int], tmp_path: Path):
    """Masks have the size of the upright picture; boxes that a user gives are written and read within a pixel."""
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    stored = np.rot90(picture(3, size))
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=turned)
    height, width = size
    whole = [[0.0, 0.0, float(width), float(height)]]
    found = perceiver.predict(tmp_path / "turned.png", boxes=whole, text="it")
    assert found.size == size and found.instances.masks.shape == (1, *size)
    assert same(perceiver.predict(picture(3, size), boxes=whole, text="it"), found)
    assert '"bbox_2d": [0, 0, 1000, 1000]' in found.written.text
