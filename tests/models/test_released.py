"""The conventions of the public checkpoints against a plain recipe: the same weights give the same numbers."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from oracles import released_losses as losses_oracle
from oracles.released import Prompt, Released, Sizes, prompt
from oracles.tiny import SETTINGS, noise_picture, tiny_tokenizer
from torch import Tensor

from mvplm.build import build_collate, build_model, build_postprocess
from mvplm.build_training import build_criterion, build_weights
from mvplm.config import Config, load_config
from mvplm.data.catalog import get_dataset
from mvplm.data.mapper import SampleMapper
from mvplm.data.unify import NameSampling
from mvplm.data.views import merge_expressions
from mvplm.losses import criterion, matcher
from mvplm.models import denoising
from mvplm.models.mvplm import MVPLM
from mvplm.perceiver import Perceiver, load
from mvplm.postprocess import postprocess
from mvplm.prompts import RELEASED_CONTROLS
from mvplm.runs import evaluate_perceiver
from mvplm.structures import Annotation, Batch, BoxFormat, Expression, Record, Sample, Vocabulary
from mvplm.structures.masks import encode_mask

SWIN = {"embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 4}
LISTS = (("star", "sky", "green circle"), ("ring", "sand", "a thing of many words"))
TEXTS = ("the left star", "sand")
WITHIN = 1e-4
PANOPTIC = "Please do Panoptic Segmentation.\nThis is all the candidate categories: "
REFER = "Please doing Referring Segmentation according to the following instruction:\n"


def tiny_released(*overrides: str) -> Config:
    tiny = [setting for setting in SETTINGS if not setting.startswith("model.encoder")]
    swin = "model.encoder={kind: swin, kwargs: {" + ", ".join(f"{k}: {v}" for k, v in SWIN.items()) + "}}"
    return load_config(None, ["behaviour=released", *tiny, swin, "model.query.num=8", *overrides])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The recipe is thousands of tiny operations; threads that wait for one another only slow them down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def perceiver() -> Perceiver:
    """A small random network in which nothing is accidentally zero, one or the identity."""
    config, tokenizer = tiny_released(), tiny_tokenizer(RELEASED_CONTROLS)
    torch.manual_seed(0)
    model = build_model(config, tokenizer)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if (
                "norm" in name
                or ".bn" in name
                or ".skip.1" in name
                or "input_proj" in name
                and name.endswith("1.weight")
            ):
                if value.is_floating_point():
                    value.add_(torch.rand_like(value) * 0.3)
            elif name.startswith("heads.box.") or "sampling_offsets.weight" in name or "attention_weights" in name:
                value.add_(torch.randn_like(value) * 0.05)
            elif name.startswith("llm.") and value.ndim > 1:
                value.normal_(std=0.2)
    return Perceiver(model, tokenizer, config=config, settings=build_postprocess(config))


def record(place: int) -> Record:
    height, width = ((50, 80), (64, 40))[place]
    annotations = []
    for number, label in enumerate(((0, 1, 2), (0,))[place]):
        mask = np.zeros((height, width), bool)
        mask[4 + 9 * number : 26 + 9 * number, 3 + 7 * number : 20 + 4 * number] = True
        box = (3.0 + 7 * number, 4.0 + 9 * number, 20.0 + 4 * number, 26.0 + 9 * number)
        annotations.append(Annotation(box, label, encode_mask(mask)))
    names = LISTS[place]
    return Record(
        place,
        noise_picture(height, width, seed=place),
        (height, width),
        vocabulary=Vocabulary(names, tuple(name not in ("sky", "sand") for name in names)),
        annotations=tuple(annotations),
        expressions=(Expression(TEXTS[place], ((0, 2), (0,))[place]),),
        captions=("A star, a circle and the sky.",),
    )


def asked(perceiver: Perceiver, task: str, *, training: bool) -> tuple[list[Sample], Batch]:
    """The samples of both records and their batch, as evaluation or training makes them."""
    mapper = perceiver.mapper(task)
    if training:
        settings = replace(mapper.settings, names=NameSampling(full_probability=1.0, shuffle=False), open_prompt=False)
        mapper = SampleMapper(
            perceiver.tokenizer,
            image_size=64,
            num_image_tokens=4,
            task=task,
            training=True,
            settings=replace(settings, response_kind="trailing"),
        )
    samples = [mapper(record(place)) for place in range(2)]
    return samples, build_collate(perceiver.config, perceiver.tokenizer)(samples)


def recipe(model: MVPLM, *, training: bool = False) -> Released:
    """The recipe around copies of a model's weights, which collect gradients."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    weights = {name: value.detach().clone() for name, value in model.state_dict().items()}
    for name in trained:
        weights[name].requires_grad_()
    return Released(weights, Sizes(swin=SWIN, num=8), training=training)


def written(perceiver: Perceiver, place: int, *, family: str, **changes: object) -> Prompt:
    tokenizer = perceiver.tokenizer
    what = {"names": LISTS[place]} if family == "word" else {"expression": TEXTS[place]}
    question = PANOPTIC if family == "word" else REFER
    controls = {"suffix": tokenizer.suffix_id, "end": tokenizer.end_id, "visual": 4}
    return prompt(tokenizer.encode, question, **what, **controls, **changes)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=WITHIN, atol=WITHIN)


@pytest.mark.parametrize(("task", "family"), [("panoptic", "word"), ("detection", "word"), ("referring", "sentence")])
@torch.no_grad()
def test_inference_equals_the_recipe(perceiver: Perceiver, task: str, family: str) -> None:
    samples, batch = asked(perceiver, task, training=False)
    model = perceiver.model.eval()
    output, plain = model(batch), recipe(model)
    images = plain.pad([sample.image for sample in samples])
    close(batch.images, images)
    maps = plain.encoder(images)
    visual = plain.connector(maps[3])
    for b, sample in enumerate(samples):
        question = {} if task != "detection" else {"question": None}
        asked_for = written(perceiver, b, family=family) if not question else listed_things(perceiver, sample)
        ids = [
            batch.input_ids[b, i] if isinstance(t, float) or t is None else t for i, t in enumerate(asked_for.tokens)
        ]
        assert batch.input_ids[b, batch.attention_mask[b]].tolist() == ids
        text = plain.text(plain.states(asked_for.tokens, visual[b]), asked_for.spans, family)
        levels, fine = plain.pixel_decoder([m[b : b + 1] for m in maps])
        found = plain.look(text, levels, fine, family=family, stuff=task == "panoptic")["layers"][-1]
        count = len(sample.names)
        logits = output.logits[0, b]
        close(logits if family == "sentence" else logits[:, [*range(count), -1]], found.logits)
        close(output.boxes[0, b], found.boxes)
        close(torch.einsum("qc,chw->qhw", output.mask_embeddings[0, b], output.mask_features[b]), found.masks)


def listed_things(perceiver: Perceiver, sample: Sample) -> Prompt:
    question = "Please do Instance Segmentation (segment all thing classes).\nThis is all the candidate categories: "
    tokenizer = perceiver.tokenizer
    controls = {"suffix": tokenizer.suffix_id, "end": tokenizer.end_id, "visual": 4}
    return prompt(tokenizer.encode, question, names=sample.names, **controls)


def fixed_points(batch: int, count: int, **_: object) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(1, count, 2, generator=generator).expand(batch, count, 2)


def fixed_draw(like: Tensor) -> Tensor:
    return (torch.arange(like.numel()) * 0.618 % 1).reshape(like.shape)


@pytest.fixture
def no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points and noise are the same in every call."""
    monkeypatch.setattr(criterion, "uniform_points", fixed_points)
    monkeypatch.setattr(matcher, "uniform_points", fixed_points)
    monkeypatch.setattr(denoising.torch, "rand_like", fixed_draw)


def as_trained(perceiver: Perceiver, batch: Batch, b: int, *, zeros: int) -> Prompt:
    """The training prompt; the order in which the present names are told is drawn, so it is read from the batch."""
    ids = batch.input_ids[b, batch.attention_mask[b]].tolist()
    present = [LISTS[b][label] for label in sorted(set(batch.targets[b].labels.tolist()))]
    told = [f"There exists {', '.join(names)}." for names in permutations(present)]
    for response in told if batch.family == "word" else ["A star, a circle and the sky."]:
        one = written(perceiver, b, family=batch.family, after=f". {response} ", zeros=zeros)
        if ids == [i if isinstance(t, float) or t is None else t for t, i in zip(one.tokens, ids, strict=True)]:
            return one
    raise AssertionError("the batch holds another prompt than the recipe's")


def truth_of(batch: Batch, b: int) -> losses_oracle.Truth:
    target = batch.targets[b]
    masks = torch.zeros(len(target), 64, 64)
    masks[:, : target.masks.shape[1], : target.masks.shape[2]] = target.masks.float()
    return losses_oracle.Truth(target.labels.tolist(), target.boxes, masks)


def recipe_losses(plain: Released, batch: Batch, samples: list[Sample], prompts: list[Prompt]) -> dict[str, Tensor]:
    """Every loss under the library's name."""
    family, stuff = batch.family, batch.use_stuff
    maps = plain.encoder(plain.pad([sample.image for sample in samples]))
    visual = plain.connector(maps[3])
    states = [plain.states(written.tokens, visual[b]) for b, written in enumerate(prompts)]
    truths = [truth_of(batch, b) for b in range(2)]
    slots = max(len(truth.labels) for truth in truths)
    groups = 8 // slots
    draws = fixed_draw(torch.zeros(2, groups * slots, 4))
    looked = []
    for b in range(2):
        text = plain.text(states[b], prompts[b].spans, family)
        levels, fine = plain.pixel_decoder([m[b : b + 1] for m in maps])
        noised = None
        if family == "word":
            content, logits = torch.zeros(groups * slots, text.shape[1]), torch.zeros(groups * slots, 4)
            for group in range(groups):
                for j, label in enumerate(truths[b].labels):
                    slot = group * slots + j
                    content[slot] = text[label]
                    logits[slot] = losses_oracle.noise(truths[b].boxes[j : j + 1], draws[b, slot : slot + 1])[0]
            noised = (content, logits, slots)
        looked.append(plain.look(text, levels, fine, family=family, stuff=stuff, noised=noised))
    cost = fixed_points(1, 64)[0]
    points = [losses_oracle.Points(cost, fixed_points(1, 208)[0], candidates=192, important=48)] * 2
    isthing = [[bool(flag) for flag in sample.isthing] for sample in samples]
    found = {"lm": plain.language_loss(prompts, states)}
    kinds = {"isthing": isthing, "stuff": stuff}
    depth = len(looked[0]["layers"])
    sets = {name: [one["layers"][i] for one in looked] for i, name in enumerate([".initial", ".layer1", ""])}
    sets[".selection"] = [one["selection"] for one in looked]
    assert depth == 3
    for suffix, singles in sets.items():
        values = losses_oracle.set_losses(singles, truths, points, family=family, things=8, **kinds)
        found |= {name + suffix: value for name, value in values.items()}
    for i, suffix in enumerate([".dn.initial", ".dn.layer1", ".dn"] if family == "word" else []):
        singles = [one["dn"][i] for one in looked]
        values = losses_oracle.noised_losses(singles, truths, points, groups=groups, slots=slots, **kinds)
        found |= {name + suffix: value for name, value in values.items()}
    return found


@pytest.mark.parametrize(("task", "family"), [("panoptic", "word"), ("res", "sentence")])
def test_losses_and_gradients_equal_the_recipe(perceiver: Perceiver, no_chance: None, task: str, family: str) -> None:
    samples, batch = asked(perceiver, task, training=True)
    model = perceiver.model.train()
    plain = recipe(model, training=True)
    zeros = 1 if task == "panoptic" else 100
    prompts = [as_trained(perceiver, batch, b, zeros=zeros) for b in range(2)]
    model.zero_grad()
    output = model(batch)
    losses = build_criterion(perceiver.config)(output, batch)
    expected = recipe_losses(plain, batch, samples, prompts)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name].detach(), rtol=WITHIN, atol=WITHIN, msg=name)
    build_weights(perceiver.config).total(losses, zero=output.zero).backward()
    build_weights(perceiver.config).total(expected).backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    largest = max(float(parameter.grad.abs().max()) for parameter in trained.values())
    for name, parameter in trained.items():
        other = plain.w[name].grad if plain.w[name].grad is not None else torch.zeros_like(parameter)
        within = 1e-3 * float(other.abs().max()) + 1e-6 * largest
        assert float((parameter.grad - other).abs().max()) <= within, name
    model.eval()


SWITCHES = (
    "model.connector.conv2_repeats=1",
    "model.text.hidden=last",
    "model.text.pool_suffix=false",
    "model.text.no_object=learned",
    "model.select.score=head",
    "model.decoder.level_order=fine_to_coarse",
    "model.decoder.anchor_scale=fine_small",
    "model.decoder.double_norm=false",
    "model.decoder.loop_box_input=normed",
    "model.decoder.mask_padding=true",
    "image.pad_value=mean",
)


@torch.no_grad()
def test_every_switch_of_inference_matters(perceiver: Perceiver) -> None:
    """With the same weights, each switch alone changes the answer: none is read by nobody."""

    def answer(*overrides: str) -> Tensor:
        config = tiny_released(*overrides)
        model = build_model(config, perceiver.tokenizer).eval()
        model.load_state_dict(perceiver.model.state_dict(), strict=False)
        other = Perceiver(model, perceiver.tokenizer, config=config, settings=build_postprocess(config))
        output = model(asked(other, "panoptic", training=False)[1])
        logits = output.logits[..., [0, 1, 2, -1]].flatten()
        return torch.cat([logits, output.boxes.flatten(), output.mask_embeddings.flatten()])

    released = answer()
    for switch in SWITCHES:
        assert (answer(switch) - released).abs().max() > 1e-2, switch


def test_a_saved_model_keeps_its_conventions(perceiver: Perceiver, tmp_path: Path) -> None:
    picture, names = noise_picture(50, 80), ["star", "sky", "ring"]
    loaded = load(perceiver.save(tmp_path / "model"), dtype="fp32")
    assert loaded.config == perceiver.config and loaded.config.behaviour == "released"
    assert loaded.tokenizer.describe() == perceiver.tokenizer.describe()
    for question in ({"classes": names, "task": "panoptic", "stuff": ["sky"]}, {"classes": names, "task": "grounding"}):
        mine, other = (found.predict(picture, **question).to_dict() for found in (perceiver, loaded))
        assert {**mine, "timings": 0} == {**other, "timings": 0}
    found = loaded.predict(picture, text=["the star", "sand"])
    assert [len(answer.instances) for answer in found] == [1, 1], "without an answer the best one is given"
    assert not any(answer.no_target for answer in found)
    boxes = loaded.predict(picture, classes=names, task="detection").instances
    assert (boxes.boxes >= 0).all() and (boxes.boxes <= torch.tensor([80, 50, 80, 50])).all()
    with pytest.raises(ValueError, match="'background' stands for no object"):
        loaded.predict(picture, classes=["star", "background"])
    with pytest.raises(ValueError, match='no summary token to write; use mode "skip"'):
        loaded.predict(picture, classes=names, mode="caption")


@torch.no_grad()
def test_g12_boxes_come_back_from_the_padded_frame(perceiver: Perceiver) -> None:
    """Predicted fractions of the frame become pixels of the original image: x 64 / 40 x 50 downwards, x 80 across."""
    samples, batch = asked(perceiver, "detection", training=False)
    output = perceiver.model.eval()(batch)
    settings = replace(perceiver.settings, box_score="class", top_k=1)
    found = postprocess(output, batch, task="detection", settings=settings)[0].instances
    best = int(output.logits[0, 0].softmax(-1)[:, : len(samples[0].names)].flatten().argmax()) // len(samples[0].names)
    cx, cy, w, h = (
        output.boxes[0, 0, best] * 64 / torch.tensor([64, 40, 64, 40]) * torch.tensor([80, 50, 80, 50])
    ).tolist()
    expected = torch.tensor([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]).clamp(min=0)
    torch.testing.assert_close(found.boxes[0], torch.minimum(expected, torch.tensor([80.0, 50, 80, 50])))


def test_boxes_of_another_frame_are_refused(perceiver: Perceiver) -> None:
    _, batch = asked(perceiver, "panoptic", training=True)
    wrong = replace(batch, box_format=BoxFormat.CXCYWH_NORM)
    with pytest.raises(ValueError, match="learns boxes as cxcywh_padded, the batch has cxcywh_norm"):
        perceiver.model.train()(wrong)
    perceiver.model.eval()


def test_responses_come_after_the_placeholder_and_change_nothing(perceiver: Perceiver) -> None:
    """Longer answers, more zero vectors: whatever follows the question leaves text and boxes alone."""
    model = perceiver.model.eval()
    _, bare = asked(perceiver, "panoptic", training=False)
    _, spoken = asked(perceiver, "panoptic", training=True)
    assert spoken.input_ids.shape[1] > bare.input_ids.shape[1]
    with torch.no_grad():
        one, two = model(bare), model(spoken)
    close(two.text_embeddings, one.text_embeddings)
    close(two.boxes, one.boxes)
    assert one.summary is None


def test_evaluation_merges_expressions_and_says_how(perceiver: Perceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []
    collate = perceiver.collate

    def listened(samples: list[Sample]) -> Batch:
        asked_for.extend(perceiver.tokenizer.decode(sample.prompt.input_ids.tolist()) for sample in samples)
        return collate(samples)

    monkeypatch.setattr(perceiver, "collate", listened)
    sets = "eval.sets={a: {dataset: scenes/val, options: {role: referring, num: 2, size: 96}, task: res}}"
    metrics = evaluate_perceiver(perceiver, tiny_released(sets))
    assert 0 <= metrics["referring/all/cIoU"] <= 100
    records = get_dataset("scenes/val", role="referring", num=2, size=96)
    groups = sum(len(merge_expressions(record).expressions) for record in records)
    assert len(asked_for) == groups <= sum(len(record.expressions) for record in records)
    assert all("Please doing Referring" in text and ". [/INST]" in text for text in asked_for)
