"""Vocabularies: lists in several prompts, both orders, and embeddings that are kept."""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from oracles.tiny import VOCABULARY, build_tiny, count_calls, noise_picture, tiny_perceiver

from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.models.states import Perceived
from mvplm.name_files import read_names
from mvplm.perceiver import Perceiver
from mvplm.prompts import PromptLayout
from mvplm.structures import Batch, FurtherPrompts, Record, Vocabulary

NAMES = ("star", "ring", "sky", "green circle", "sand", "the left ring", "red star")
CLOSE = {"rtol": 0, "atol": 1e-5}
OTHER_ORDER = "prompt.order=instruction_first"


@cache
def cut(most: int, *overrides: str) -> Perceiver:
    """The tiny network with lists cut after ``most`` names; equal weights whatever the overrides."""
    return build_tiny(0, f"vocab.max_names={most}", *overrides)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MVPLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "names"


def batch_of(perceiver: Perceiver, *lists: tuple[str, ...], mode: str = "skip", task: str = "panoptic") -> Batch:
    mapper = perceiver.mapper(task, mode)
    records = [
        Record(i, noise_picture(50 + 9 * i, 60, seed=i), (50 + 9 * i, 60), vocabulary=Vocabulary(names))
        for i, names in enumerate(lists)
    ]
    return perceiver.collate([mapper(record) for record in records])


def look(perceiver: Perceiver, batch: Batch, mode: str = "skip") -> Perceived:
    return perceiver.look(batch, mode=mode).perceived


@pytest.mark.parametrize("mode", ["skip", "caption"])
def test_one_part_by_the_road_of_many_is_the_ordinary_answer(mode: str):
    perceiver = tiny_perceiver()
    batch = batch_of(perceiver, NAMES, mode=mode)
    prompt = perceiver.mapper("panoptic", mode)(
        Record(0, noise_picture(50, 60), (50, 60), vocabulary=Vocabulary(NAMES))
    ).prompt
    none = FurtherPrompts(
        batch.input_ids[:0],
        batch.attention_mask[:0],
        batch.name_spans[:0],
        object_spans=None,
        summary_index=batch.summary_index[:0],
        rows=[],
        shared=prompt.list_span[0],
    )
    assert batch.further is None
    ordinary, forced = look(perceiver, batch, mode), look(perceiver, replace(batch, further=none), mode)
    torch.testing.assert_close(forced.output.logits, ordinary.output.logits, **CLOSE)
    torch.testing.assert_close(forced.output.boxes, ordinary.output.boxes, **CLOSE)
    assert forced.caption_ids == ordinary.caption_ids


@pytest.mark.parametrize("mode", ["skip", "caption"])
def test_every_part_is_read_as_if_it_stood_alone(mode: str):
    perceiver, plain = cut(3), tiny_perceiver()
    batch = batch_of(perceiver, NAMES, mode=mode)
    assert batch.further.rows == [0, 0] and not batch.further.input_ids.equal(batch.input_ids[:, :1])
    together = look(perceiver, batch, mode)
    parts = [NAMES[:3], NAMES[3:5], NAMES[5:]]
    alone = [look(plain, batch_of(plain, part)).output for part in parts]
    text = torch.cat([output.text_embeddings for output in alone], dim=1)
    torch.testing.assert_close(together.output.text_embeddings, text, **CLOSE)
    assert together.output.logits.shape[-1] == len(NAMES) + 1
    if mode == "skip":
        mean = torch.stack([output.summary for output in alone]).mean(0)
        torch.testing.assert_close(together.output.summary, mean, **CLOSE)
    else:
        first = look(plain, batch_of(plain, parts[0], mode=mode), mode)
        assert together.caption_ids == first.caption_ids and len(together.caption_ids[0]) > 0
        assert (together.output.summary - first.output.summary).abs().max() > 1e-4


def test_the_response_of_the_first_part_is_read_after_the_others():
    perceiver, plain = cut(3), tiny_perceiver()
    perceived = look(perceiver, batch_of(perceiver, NAMES, mode="caption"), "caption")
    model, summaries = plain.model, []
    for part in (NAMES[:3], NAMES[3:5], NAMES[5:]):
        batch = batch_of(plain, part, mode="caption")
        ids = [*perceived.caption_ids[0], *(model.tokens.tail if perceived.forced[0] else ()), model.tokens.summary]
        longer = torch.cat([batch.input_ids, torch.tensor([ids])], dim=1)
        with torch.no_grad():
            visual = model.encode(batch.images, batch.valid_sizes)
            embeddings = model.llm.assemble(longer, visual.tokens, starts=batch.image_starts)
            summaries.append(model.llm(embeddings, torch.ones_like(longer, dtype=torch.bool))[:, -1])
    torch.testing.assert_close(perceived.output.summary, torch.stack(summaries).mean(0), **CLOSE)


def test_names_of_other_parts_change_nothing_but_the_competition():
    perceiver = cut(3)
    changed = (*NAMES[:3], "blue sky", "grey sand", *NAMES[5:])
    first, second = (look(perceiver, batch_of(perceiver, names)).output for names in (NAMES, changed))
    kept = [0, 1, 2, 5, 6]
    texts = [output.text_embeddings for output in (first, second)]
    torch.testing.assert_close(texts[0][:, kept], texts[1][:, kept], **CLOSE)
    assert (texts[0][:, 3:5] - texts[1][:, 3:5]).abs().max() > 1e-3
    model, hidden = perceiver.model, torch.randn(1, 6, perceiver.config.model.pixel_decoder.width)
    logits = [
        model.heads.word_logits(
            hidden,
            text,
            name_mask=torch.ones(1, 7, dtype=torch.bool),
            no_object=model.text.no_object,
            no_object_bias=model.text.no_object_bias,
        )
        for text in texts
    ]
    torch.testing.assert_close(logits[0][..., [*kept, 7]], logits[1][..., [*kept, 7]], **CLOSE)


@pytest.mark.parametrize("mode", ["skip", "caption"])
@pytest.mark.parametrize("order", ["image_first", "instruction_first"])
def test_long_and_short_lists_of_a_batch_equal_their_single_calls(mode: str, order: str):
    perceiver = cut(3, f"prompt.order={order}")
    lists = (NAMES[:2], NAMES, NAMES[2:6])
    together = look(perceiver, batch_of(perceiver, *lists, mode=mode), mode)
    batch = batch_of(perceiver, *lists, mode=mode)
    for row, names in enumerate(lists):
        mapper = perceiver.mapper("panoptic", mode)
        size = batch.original_sizes[row]
        record = Record(0, noise_picture(*size, seed=row), size, vocabulary=Vocabulary(names))
        alone = look(perceiver, perceiver.collate([mapper(record)]), mode)
        if mode == "caption":
            assert together.caption_ids[row] == alone.caption_ids[0] and together.forced[row] == alone.forced[0]
        for one, two in (
            (together.output.text_embeddings[row, : len(names)], alone.output.text_embeddings[0]),
            (together.output.summary[row], alone.output.summary[0]),
            (together.output.boxes[:, row], alone.output.boxes[:, 0]),
            (together.output.logits[:, row][..., : len(names)], alone.output.logits[:, 0][..., : len(names)]),
        ):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-4)
            assert bool(torch.isfinite(one).all())


def test_queries_of_every_part_side_by_side():
    perceiver = cut(3, "vocab.chunking=per_chunk_queries")
    batch = batch_of(perceiver, NAMES[:6], task="panoptic")
    output = look(perceiver, batch).output
    assert output.logits.shape == (1, 1, 2 * perceiver.config.model.query.num, 7)
    assert output.num_things == output.logits.shape[2]
    with pytest.raises(ValueError, match=r"equally many parts in a batch, got \[2, 1\]"):
        look(perceiver, batch_of(perceiver, NAMES[:6], NAMES[:2]))


def test_users_see_nothing_of_the_parts(picture):
    answer = cut(3).predict(picture, classes=NAMES, task="detection")
    assert answer.query == list(NAMES) and len({*answer.instances.labels}) > 3 and answer.caption is not None
    semantic = cut(3).predict(picture, classes=NAMES, task="semantic", stuff=["sky"])
    assert semantic.semantic.labels == list(NAMES)


# -- the other order ---------------------------------------------------------------------------------------------------


def training_form(perceiver: Perceiver, *names: str, pictures: int = 2, closed: bool = True) -> Batch:
    """Prompts with their lists, as training has them, about different pictures."""
    config = perceiver.config
    mapper = SampleMapper(
        perceiver.tokenizer,
        image_size=config.image.size,
        num_image_tokens=config.num_image_tokens,
        task="panoptic",
        training=True,
        settings=UnifySettings(response_kind="none", layout=PromptLayout("instruction_first")),
    )
    mapper.settings = replace(mapper.settings, names=replace(mapper.settings.names, shuffle=False, full_probability=1))
    samples = []
    for i in range(pictures):
        record = Record(i, noise_picture(64, 50 + i, seed=i), (64, 50 + i), vocabulary=Vocabulary(names))
        sample = mapper(record)
        prompt = sample.prompt
        if not closed:
            keep = prompt.image_span[1] + len(perceiver.tokenizer.encode(" [/INST]"))
            prompt = replace(prompt, input_ids=prompt.input_ids[:keep], labels=prompt.labels[:keep], summary_index=None)
        samples.append(replace(sample, target=None, prompt=prompt))
    return perceiver.collate(samples)


def test_names_do_not_depend_on_the_picture():
    other, plain = cut(320, OTHER_ORDER), tiny_perceiver()
    with torch.no_grad():
        text = other.model(training_form(other, *NAMES)).text_embeddings
        seen = plain.model(batch_of(plain, NAMES, NAMES)).text_embeddings
    torch.testing.assert_close(text[0], text[1], **CLOSE)
    assert (seen[0] - seen[1]).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["skip", "caption"])
def test_prompts_without_lists_answer_as_the_prompts_of_the_training(mode: str):
    perceiver = cut(320, OTHER_ORDER)
    whole = training_form(perceiver, *NAMES, closed=mode == "skip")
    apart = batch_of(perceiver, NAMES, NAMES, mode=mode)
    apart = replace(apart, images=whole.images, valid_sizes=whole.valid_sizes, original_sizes=whole.original_sizes)
    assert whole.asides is not None and apart.asides is None and apart.input_ids.shape[1] < whole.input_ids.shape[1]
    first, second = look(perceiver, whole, mode), look(perceiver, apart, mode)
    assert first.caption_ids == second.caption_ids
    for name in ("text_embeddings", "summary", "logits", "boxes"):
        torch.testing.assert_close(getattr(first.output, name), getattr(second.output, name), rtol=0, atol=1e-4)


def test_a_list_read_aside_leaves_no_trace_in_what_follows():
    perceiver = cut(320, OTHER_ORDER)
    with torch.no_grad():
        few, many = (perceiver.model(training_form(perceiver, *names)) for names in (NAMES[:2], NAMES))
    torch.testing.assert_close(few.summary, many.summary, **CLOSE)


def test_a_long_list_is_read_in_parts_and_costs_nothing_per_picture(picture):
    perceiver = build_tiny(0, OTHER_ORDER, "vocab.max_names=3")
    names = tuple(f"star number {i}" for i in range(60))
    perceiver.predict(picture, classes=names, mode="skip")
    sizes, handle = count_calls(perceiver.model.llm.model.layers[0])
    perceiver.predict(picture, classes=names, mode="skip")
    assert len(sizes) == 1, "one pass over image and answer"
    handle.remove()
    short = build_tiny(0, OTHER_ORDER, "vocab.max_names=3").names.embed(names[3:6]).text
    whole = perceiver.names.embed(names).text
    assert whole.shape[1] == 60
    torch.testing.assert_close(whole[:, 3:6], short, **CLOSE)


def test_a_sentence_before_the_image_is_seen_by_the_answer(picture, loose):
    perceiver = cut(320, OTHER_ORDER)
    answers = perceiver.predict(picture, text=["the star", "a green circle"], settings=loose)
    assert answers[0].presence != answers[1].presence


# -- what is kept ------------------------------------------------------------------------------------------------------


def calls_of(perceiver: Perceiver, names: tuple[str, ...]) -> int:
    sizes, handle = count_calls(perceiver.model.llm.model.layers[0])
    perceiver.set_vocabulary(names)
    handle.remove()
    return len(sizes)


def test_embeddings_are_found_on_disk_by_another_process(own_cache: Path, caplog: pytest.LogCaptureFixture):
    first, second, changed = (build_tiny(seed, OTHER_ORDER) for seed in (0, 0, 1))
    assert calls_of(first, NAMES) == 2 and calls_of(first, NAMES) == 0
    (file,) = own_cache.glob("*.safetensors")
    assert calls_of(second, NAMES) == 0
    assert second.names.embed(NAMES).text.equal(first.names.embed(NAMES).text)
    assert calls_of(second, NAMES[:3]) > 0 and calls_of(changed, NAMES) > 0
    assert len(list(own_cache.iterdir())) == 3
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 255
    for content in (bytes(damaged), b"nonsense", b""):
        file.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert calls_of(build_tiny(0, OTHER_ORDER), NAMES) == 2
        assert "computed again" in caplog.text and str(file) in caplog.text
        caplog.clear()
        assert read_names(file).tensors["text"].equal(first.names.embed(NAMES).text[0])


def test_a_cache_folder_that_cannot_be_written_is_told(own_cache: Path, caplog: pytest.LogCaptureFixture):
    own_cache.parent.write_text("a file, no folder")
    with caplog.at_level(logging.WARNING):
        assert calls_of(build_tiny(0, OTHER_ORDER), NAMES) == 2
    assert "embeddings are not cached" in caplog.text


def test_changed_weights_are_noticed():
    perceiver = build_tiny(0, OTHER_ORDER)
    before = perceiver.names.embed(NAMES).text
    with torch.no_grad():
        perceiver.model.text.word.layers[-1].weight.mul_(2)
    assert (perceiver.names.embed(NAMES).text - before).abs().max() > 1e-3


@pytest.mark.parametrize("order", ["image_first", "instruction_first"])
def test_a_vocabulary_is_set_asked_for_and_saved(order: str, picture, tmp_path: Path):
    perceiver = build_tiny(0, f"prompt.order={order}")
    with pytest.raises(ValueError, match=r"either classes=.* or text="):
        perceiver.predict(picture)
    with pytest.raises(ValueError, match="call set_vocabulary"):
        perceiver.save_vocabulary(tmp_path / "names.safetensors")
    assert perceiver.set_vocabulary(NAMES, stuff=["sand"]) is perceiver
    asked = perceiver.predict(picture, task="panoptic", mode="skip")
    told = perceiver.predict(picture, classes=NAMES, stuff=["sand"], task="panoptic", mode="skip")
    assert asked.query == list(NAMES) and asked.panoptic.segment_map.equal(told.panoptic.segment_map)
    path = perceiver.save_vocabulary(tmp_path / "deep" / "names.safetensors")
    other = build_tiny(0, f"prompt.order={order}")
    sizes, handle = count_calls(other.model.llm.model.layers[0])
    other.set_vocabulary(path)
    handle.remove()
    assert not sizes
    again = other.predict(picture, task="panoptic", mode="skip")
    assert again.panoptic.segment_map.equal(asked.panoptic.segment_map)
    assert [s.isthing for s in again.panoptic.segments] == [s.isthing for s in asked.panoptic.segments]


def test_a_saved_vocabulary_of_other_weights_is_read_anew(tmp_path: Path):
    path = build_tiny(0, OTHER_ORDER).set_vocabulary(NAMES).save_vocabulary(tmp_path / "names.safetensors")
    other, fresh = build_tiny(1, OTHER_ORDER), build_tiny(1, OTHER_ORDER)
    other.set_vocabulary(path)
    torch.testing.assert_close(other.names.embed(NAMES).text, fresh.names.embed(NAMES).text, **CLOSE)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "classes is empty"),
        (["star", " star"], "repeated: 'star'"),
        (["star", ""], "must not be empty"),
        ("missing.safetensors", "no such file of names: missing.safetensors"),
    ],
)
def test_what_is_no_vocabulary(names, message: str):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_tiny(0).set_vocabulary(names)


def test_the_models_own_vocabulary_says_what_is_stuff():
    perceiver = build_tiny(0).set_vocabulary(VOCABULARY.names)
    assert perceiver.asked.isthing == VOCABULARY.isthing
