"""Training with the word "object": noised targets that are asked for by it, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from oracles.tiny import build_tiny, noise_picture, tiny_config, tiny_tokenizer

from mvplm.build import build_collate
from mvplm.build_training import build_criterion
from mvplm.config import Config
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import UnifySettings
from mvplm.models.leading import leading_queries
from mvplm.models.names import NameStates
from mvplm.prompts import PromptLayout
from mvplm.structures import Annotation, Batch, Record, Vocabulary

NAMES = ("star", "ring", "sky")


def batch_of(config: Config, *, anonymous: float = 0.0, order: str = "image_first", rows: int = 2) -> Batch:
    mapper = SampleMapper(
        tiny_tokenizer(),
        image_size=config.image.size,
        num_image_tokens=config.num_image_tokens,
        task="panoptic",
        training=True,
        settings=UnifySettings(response_kind="none", anonymous=anonymous, layout=PromptLayout(order)),
    )
    records = [
        Record(
            i,
            noise_picture(64, 64, seed=i),
            (64, 64),
            vocabulary=Vocabulary(NAMES),
            annotations=(Annotation((5, 5, 30, 40), i % 3), Annotation((20, 20, 60, 60), 1)),
        )
        for i in range(rows)
    ]
    return build_collate(config, tiny_tokenizer())([mapper(record, index=record.image_id) for record in records])


@pytest.mark.parametrize("order", ["image_first", "instruction_first"])
@pytest.mark.parametrize("anonymous", [0.0, 1.0])
def test_a_training_step_is_finite_and_reaches_the_words(order: str, anonymous: float):
    perceiver = build_tiny(0, f"prompt.order={order}", f"model.dn.anonymous={anonymous}")
    model = perceiver.model.train()
    batch = batch_of(perceiver.config, anonymous=anonymous, order=order)
    assert (batch.object_spans is not None) == (anonymous > 0) and (batch.asides is not None) == ("instr" in order)
    losses = build_criterion(perceiver.config)(model(batch), batch)
    assert all(bool(torch.isfinite(value)) for value in losses.values()) and "word.dn" in losses
    sum(losses.values()).backward()
    gradient = model.llm.model.get_input_embeddings().weight.grad
    assert float(gradient[tiny_tokenizer().encode(" object")].abs().sum() > 0) == float(anonymous > 0)


def test_noised_targets_carry_the_word_for_anything_where_the_prompt_has_it():
    config = tiny_config()
    batch = batch_of(config)
    batch = replace(batch, object_spans=torch.tensor([[3, 5], [0, 0]]))
    text, anything = torch.randn(2, 3, 8), torch.randn(2, 8)
    settings = build_tiny(0).model.denoising
    plain = leading_queries(batch, NameStates(text), training=True, settings=settings)
    mixed = leading_queries(batch, NameStates(text, anything), training=True, settings=settings)
    assert mixed.queries.content.shape == plain.queries.content.shape
    assert bool((mixed.queries.content[0] == anything[0]).all())
    assert mixed.queries.content[1].equal(plain.queries.content[1])
    assert leading_queries(batch, NameStates(text, anything), training=False, settings=settings) is None


def test_without_the_word_lists_are_drawn_as_ever():
    config = tiny_config()
    one, two = batch_of(config), batch_of(config, anonymous=1e-9)
    assert one.names == two.names and one.object_spans is None and two.object_spans is None
    always = batch_of(config, anonymous=1.0)
    starts, ends = always.object_spans.unbind(1)
    assert bool((ends > starts).all()) and all(set(names) <= set(NAMES) for names in always.names)


def test_the_word_counts_for_the_length_of_a_prompt():
    config = tiny_config()
    length = batch_of(config, anonymous=1.0, rows=1).input_ids.shape[1]
    mapper = SampleMapper(
        tiny_tokenizer(),
        image_size=64,
        num_image_tokens=config.num_image_tokens,
        task="panoptic",
        training=True,
        settings=UnifySettings(response_kind="none", anonymous=1.0),
        max_length=length - 1,
    )
    record = Record(0, noise_picture(64, 64), (64, 64), vocabulary=Vocabulary(NAMES))
    for index in range(4):
        assert len(mapper(record, index=index).prompt) <= length - 1
