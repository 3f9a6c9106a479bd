"""Vocabularies and box prompts with other conventions: suffixes, a name for no object, mean states, padded frame."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from oracles.tiny import build_tiny, noise_picture

from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import NameSampling, UnifySettings
from mvplm.perceiver import Perceiver
from mvplm.prompts import PromptLayout, PromptStyle
from mvplm.structures import Batch, Record, Vocabulary

NAMES = ("star", "ring", "sky", "green circle", "sand", "the left ring", "red star")
CLOSE = {"rtol": 0, "atol": 1e-5}
RELEASED = ("behaviour=released",)
OWN = (
    "model.text={hidden: layer_mean, pool_suffix: true, proj: linear, no_object: background_name}",
    "boxes.frame=padded",
)
CONVENTIONS = pytest.mark.parametrize("settings", [RELEASED, OWN], ids=["released", "own"])
OTHER_ORDER = "prompt.order=instruction_first"


@cache
def tiny(*overrides: str) -> Perceiver:
    return build_tiny(0, *overrides)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVPLM_CACHE", str(tmp_path / "cache"))


def records(*lists: tuple[str, ...]) -> list[Record]:
    sizes = [(50 + 9 * i, 60) for i in range(len(lists))]
    rows = enumerate(zip(lists, sizes, strict=True))
    return [Record(i, noise_picture(*size, seed=i), size, vocabulary=Vocabulary(names)) for i, (names, size) in rows]


def batch_of(perceiver: Perceiver, *lists: tuple[str, ...]) -> Batch:
    mapper = perceiver.mapper("panoptic", "skip")
    return perceiver.collate([mapper(record) for record in records(*lists)])


def training_form(perceiver: Perceiver, *lists: tuple[str, ...], **changes: object) -> Batch:
    """Prompts with their lists, as training has them, closed without a response."""
    settings = UnifySettings(
        names=NameSampling(shuffle=False, full_probability=1.0), response_kind="none", layout=PromptLayout()
    )
    mapper = SampleMapper(
        perceiver.tokenizer,
        image_size=64,
        num_image_tokens=perceiver.config.num_image_tokens,
        task="panoptic",
        training=True,
        settings=replace(settings, **changes),
    )
    return perceiver.collate([replace(mapper(record), target=None) for record in records(*lists)])


@CONVENTIONS
def test_parts_are_read_as_if_they_stood_alone(settings: tuple[str, ...]) -> None:
    whole, cut = tiny(*settings), tiny("vocab.max_names=3", *settings)
    batch = batch_of(cut, NAMES, NAMES[:2])
    assert batch.further.rows == [0, 0] and batch.no_object_spans.tolist()[0] == [0, 0]
    assert batch.further.no_object_spans[0].tolist() == [0, 0] and batch.further.no_object_spans[1].any()
    together = cut.look(batch, mode="skip").perceived.output
    parts = (NAMES[:3], NAMES[3:5], NAMES[5:])
    texts = [whole.look(batch_of(whole, part), mode="skip").perceived.output.text_embeddings for part in parts]
    torch.testing.assert_close(together.text_embeddings[:1], torch.cat(texts, dim=1), **CLOSE)
    short = whole.look(batch_of(whole, NAMES, NAMES[:2]), mode="skip").perceived.output
    torch.testing.assert_close(together.boxes[:, 1], short.boxes[:, 1], **CLOSE)
    torch.testing.assert_close(together.logits[:, 1], short.logits[:, 1], rtol=0, atol=1e-4)
    assert together.logits.shape[-1] == len(NAMES) + 1 and bool(torch.isfinite(together.logits[:, 0]).all())
    assert (together.summary is None) == (settings is RELEASED)


@CONVENTIONS
def test_the_name_for_no_object_competes_with_all_parts(settings: tuple[str, ...]) -> None:
    """The last part's list ends with it, so nothing changes when the parts before it do."""
    cut, changed = tiny("vocab.max_names=3", *settings), ("blue sky", *NAMES[1:])
    first, second = (cut.look(batch_of(cut, names), mode="skip").perceived for names in (NAMES, changed))
    text = [perceived.output.text_embeddings for perceived in (first, second)]
    torch.testing.assert_close(text[0][:, 3:], text[1][:, 3:], **CLOSE)
    assert (text[0][:, 0] - text[1][:, 0]).abs().max() > 1e-3
    with_object = cut.mapper("panoptic", "skip", with_object=True)(records(NAMES)[0])
    prompts = (with_object.prompt, *with_object.further)
    assert [prompt.object_span is not None for prompt in prompts] == [False, False, True]
    assert [prompt.no_object_span is not None for prompt in prompts] == [False, False, True]


@pytest.mark.parametrize("build", [RELEASED, OWN, (*OWN, OTHER_ORDER), (*RELEASED, "vocab.max_names=3")])
@pytest.mark.parametrize("question", [{}, {"classes": NAMES}, {"text": "the star"}])
def test_boxes_come_back_from_every_frame(picture, build: tuple[str, ...], question: dict) -> None:
    """With a box head that moves nothing, the answer is the question."""
    perceiver = build_tiny(0, *build)
    with torch.no_grad():
        for parameter in perceiver.model.heads.box.layers[-1].parameters():
            parameter.zero_()
    boxes = torch.tensor([[5.0, 4, 30, 40], [20.5, 10, 60, 44], [40, 0, 71, 20]])
    found = perceiver.predict(picture, boxes=boxes, mode="skip", **question).instances
    torch.testing.assert_close(found.boxes, boxes, rtol=0, atol=2e-2)


def test_prompts_without_lists_answer_as_those_of_the_training() -> None:
    perceiver = tiny(*OWN, OTHER_ORDER)
    style, layout = PromptStyle(suffix=True, no_object=True), PromptLayout("instruction_first")
    whole = training_form(perceiver, NAMES, NAMES[:4], style=style, layout=layout)
    apart = batch_of(perceiver, NAMES, NAMES[:4])
    assert whole.asides is not None and whole.no_object_spans is not None
    assert apart.asides is None and apart.no_object_spans is None
    first, second = (perceiver.look(batch, mode="skip").perceived.output for batch in (whole, apart))
    for name in ("text_embeddings", "summary", "logits", "boxes"):
        one, two = getattr(first, name), getattr(second, name)
        if name == "text_embeddings":
            one, two = (value * whole.name_mask[..., None] for value in (one, two))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-4)


def test_a_saved_vocabulary_keeps_the_name_for_no_object(tmp_path: Path, picture) -> None:
    first, second = (build_tiny(0, *OWN, OTHER_ORDER, "vocab.max_names=3") for _ in range(2))
    path = first.set_vocabulary(NAMES).save_vocabulary(tmp_path / "names.safetensors")
    second.set_vocabulary(path)
    one, two = first.names.embed(NAMES), second.names.embed(NAMES)
    assert one.no_object is not None and two.no_object is not None
    assert one.text.equal(two.text) and one.no_object.equal(two.no_object)
    plain = build_tiny(0, OTHER_ORDER).names
    assert plain.facts(NAMES) != first.names.facts(NAMES) and plain.embed(NAMES).no_object is None
    answers = [perceiver.predict(picture, task="semantic", mode="skip") for perceiver in (first, second)]
    assert answers[0].semantic.class_map.equal(answers[1].semantic.class_map)


def test_names_that_close_a_list_find_their_room_in_training() -> None:
    perceiver = tiny(*RELEASED)
    many = tuple(f"thing number {i}" for i in range(60))
    style = PromptStyle("released", suffix=True, no_object=True)
    mapper = SampleMapper(
        perceiver.tokenizer,
        image_size=64,
        num_image_tokens=4,
        task="panoptic",
        training=True,
        settings=UnifySettings(response_kind="none", style=style, anonymous=1.0),
        max_length=900,
    )
    sample = mapper(records(many)[0])
    assert 0 < len(sample.names) < 60 and len(sample.prompt) <= 900
    assert sample.prompt.object_span is not None and sample.prompt.no_object_span is not None


def test_the_released_wording_has_one_order() -> None:
    with pytest.raises(ValueError, match="prompt.style 'released' has the image first"):
        build_tiny(0, *RELEASED, OTHER_ORDER)
    with pytest.raises(ValueError, match="released wording have the image first"):
        UnifySettings(style=PromptStyle("released"), layout=PromptLayout("instruction_first"))
