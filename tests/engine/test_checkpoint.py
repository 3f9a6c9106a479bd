"""Checkpoints: atomic, complete, strict; averages of weights; generators."""

import json
import random

import numpy as np
import pytest
import torch
from engine.toy import make_model
from safetensors.torch import save_file
from torch import nn

from mvplm.engine import (
    CheckpointStore,
    WeightAverage,
    adopt_weights,
    capture_rng,
    load_weights,
    open_checkpoint,
    parameters_on_meta,
    restore_rng,
    seed_everything,
    step_seed,
)
from mvplm.engine.weights import unique_state


def save(store: CheckpointStore, step: int, **kwargs):
    return store.save(step, tensors={"model": unique_state(make_model(step))}, state={"note": step}, **kwargs)


def test_keeps_the_newest_and_reads_back(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (5, 123, 1_000_000):
        save(store, step, extras=lambda path: (path / "config.yaml").write_text("a: 1"))
    assert store.steps() == [123, 1_000_000] and (tmp_path / "step_000123").is_dir()
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.step == 1_000_000 and checkpoint.state["note"] == 1_000_000
    assert (checkpoint.path / "config.yaml").read_text() == "a: 1"
    assert checkpoint.tensors("ema") is None
    model = make_model(7)
    load_weights(model, checkpoint.path / "model.safetensors")
    wanted = make_model(10**6).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_half_written_is_never_trusted(tmp_path):
    store = CheckpointStore(tmp_path, keep=0)
    for step in (1, 2, 3):
        save(store, step)
    weights = tmp_path / "step_000003" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (tmp_path / "step_000002" / "trainer_state.json").write_text("{")
    (tmp_path / "step_000009").mkdir()
    (tmp_path / ".writing_step_000010_1").mkdir()
    assert store.steps() == [1] and store.latest() == tmp_path / "step_000001"
    assert open_checkpoint(tmp_path).step == 1
    save(store, 4)
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(ValueError, match="no complete checkpoint"):
        open_checkpoint(tmp_path / "step_000009")


def test_a_failing_save_leaves_the_old_one(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    save(store, 1)

    def fail(path):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save(store, 2, extras=fail)
    assert store.steps() == [1]
    save(store, 1)
    assert (
        store.steps() == [1] and json.loads((tmp_path / "step_000001" / "trainer_state.json").read_text())["step"] == 1
    )


def test_strict_load_reports_everything_and_changes_nothing():
    model = make_model(1)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: v for k, v in make_model(2).state_dict().items() if not k.startswith("word.")}
    state["extra"] = torch.zeros(1)
    state["slots"] = torch.zeros(2, 2)
    with pytest.raises(ValueError) as error:
        load_weights(model, state)
    message = str(error.value)
    assert "2 missing: word.weight, word.bias" in message and "1 unexpected: extra" in message
    assert "slots (file (2, 2), model (3, 8))" in message
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    good = {k: v for k, v in make_model(2).state_dict().items() if not k.startswith("word.")}
    report = load_weights(model, good, allow_missing=["word."])
    assert report.missing == ("word.weight", "word.bias") and report.loaded == len(good)


def test_tied_tensors_are_saved_once(tmp_path):
    model = nn.ModuleDict({"embedding": nn.Embedding(4, 3), "head": nn.Linear(3, 4, bias=False)})
    model["head"].weight = model["embedding"].weight
    average = WeightAverage(model, 0.5)
    assert list(unique_state(model)) == list(average.state_dict()) == ["embedding.weight"]
    CheckpointStore(tmp_path).save(1, tensors={"model": unique_state(model)}, state={})
    wanted = model["head"].weight.detach().clone()
    model["head"].weight.data.zero_()
    load_weights(model, open_checkpoint(tmp_path).tensors("model"))
    assert torch.equal(model["head"].weight, wanted)


def test_weights_take_the_place_of_parameters_without_memory(tmp_path):
    def build() -> nn.Module:
        made = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-3), nn.Linear(2, 2))
        made.register_buffer("scale", torch.tensor(3.0), persistent=False)
        made[2].weight.requires_grad_(False)
        return made

    source = build().eval()
    save_file(unique_state(source), tmp_path / "model.safetensors")
    with parameters_on_meta():
        model = build().eval()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    assert model.scale == 3 and not model[2].weight.requires_grad
    adopt_weights(model, tmp_path / "model.safetensors", dtype_of=lambda name, value: value.dtype)
    picture = torch.randn(1, 3, 2, 2)
    assert torch.equal(model(picture), source(picture))
    assert build()[0].weight.device.type == "cpu"


def test_tied_parameters_without_memory_stay_tied():
    with parameters_on_meta():
        one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        other.weight = one.weight
    assert other.weight is one.weight and one.weight.device.type == "meta"


def test_average_follows_the_formula_and_is_applied_only_inside():
    model = make_model()
    start = model.word.weight.detach().clone()
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        model.word.weight.add_(1.0)
    average.update(1)
    decay = 2 / 11
    with average.applied():
        torch.testing.assert_close(model.word.weight.detach(), start + (1 - decay))
    assert torch.equal(model.word.weight.detach(), start + 1.0)
    state = average.state_dict()
    assert state.keys() == model.state_dict().keys()
    other = WeightAverage(make_model(5), 0.9)
    other.load_state_dict(state)
    assert torch.equal(other.state_dict()["word.weight"], state["word.weight"])
    with pytest.raises(ValueError, match="lack"):
        other.load_state_dict({})


def test_generators_come_back_through_json():
    def draw():
        return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()]

    seed_everything(11)
    random.gauss(0, 1), np.random.randn()  # leaves a cached second value in both
    state = json.loads(json.dumps(capture_rng()))
    first = draw()
    draw()
    restore_rng(state)
    assert draw() == first
    seed_everything(11)
    random.gauss(0, 1), np.random.randn()
    assert draw() == first


def test_step_seeds_differ_by_each_argument():
    assert len({step_seed(0, 0), step_seed(1, 0), step_seed(0, 1), step_seed(0, 0, rank=1), step_seed(0, 0)}) == 4


def test_skipped_parts_keep_their_own_values():
    source, model = make_model(), make_model()
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.fill_(3.0)
    before = model.word.weight.clone()
    load_weights(model, {k: v for k, v in source.state_dict().items() if k != "word.bias"}, skip=["word."])
    assert torch.equal(model.word.weight, before)
    others = [value for name, value in model.named_parameters() if not name.startswith("word.")]
    assert others and all(bool((value == 3.0).all()) for value in others)
