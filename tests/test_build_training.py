"""Settings reach what they set."""

from pathlib import Path

import pytest
import torch
from oracles.tiny import build_tiny, noise_picture, tiny_config, tiny_tokenizer
from safetensors.torch import save_file

from mvplm.build import build_model, load_initial_weights
from mvplm.build_training import build_mixture, build_optimizer_settings, build_trainer_settings

SOURCES = (
    "data.sources.phrases={dataset: scenes/train, options: {role: grounding, num: 30}, task: grounding, batch_size: 2}",
)


def test_settings_of_the_loop():
    config = tiny_config(
        "train={compile: true, deterministic: true, nonfinite_limit: 3, device: cpu, log_every: 0, steps: 9}"
    )
    settings = build_trainer_settings(config)
    assert (settings.compile, settings.deterministic, settings.nonfinite_limit) == (True, True, 3)
    assert (settings.device, settings.log_every, settings.steps) == ("cpu", 9, 9)
    assert build_trainer_settings(tiny_config()).deterministic is None


def test_the_encoder_starts_from_a_file_that_must_fit(tmp_path: Path):
    path = tmp_path / "encoder.safetensors"
    config = tiny_config(f"model.encoder.weights={path}")
    model = build_model(config, tiny_tokenizer())
    with pytest.raises(FileNotFoundError):
        load_initial_weights(model, config)
    wanted = {name: torch.full_like(value, 2) for name, value in model.encoder.state_dict().items()}
    save_file(wanted, path)
    load_initial_weights(model, config)
    assert all(bool((value == 2).all()) for value in model.encoder.state_dict().values())
    save_file(dict(list(wanted.items())[1:]), path)
    with pytest.raises(ValueError, match="1 missing"):
        load_initial_weights(model, config)


def test_each_process_takes_its_share(monkeypatch: pytest.MonkeyPatch):
    config = tiny_config(*SOURCES)
    alone = build_mixture(config, tiny_tokenizer()).mixture
    assert (alone.rank, alone.world) == (0, 1)
    assert len(alone.sources["phrases"].mapper.phrase_pool) > 10
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 1)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 3)
    shared = build_mixture(config, tiny_tokenizer()).mixture
    assert (shared.rank, shared.world) == (1, 3)
    assert shared.batch_plan(0).visits == alone.batch_plan(1).visits != alone.batch_plan(0).visits


def test_sources_with_the_same_records_remember_them_together():
    spec = "dataset: scenes/train, options: {role: referring, num: 9"
    config = tiny_config(
        "data.remember=4",
        f"data.sources.one={{{spec}}}, task: res}}",
        f"data.sources.two={{{spec}}}, task: rec}}",
        f"data.sources.more={{{spec}, seed: 1}}, task: res}}",
    )
    sources = build_mixture(config, tiny_tokenizer()).mixture.sources
    assert sources["one"].dataset is sources["two"].dataset
    assert sources["one"].dataset is not sources["more"].dataset
    assert sources["one"].dataset[0] is sources["two"].dataset[0]


def test_the_display_score_reaches_the_answer_but_not_its_numbers():
    picture = noise_picture(48, 64)
    usual, keen = (
        build_tiny(0, *overrides).predict(picture, classes=["star"]) for overrides in ((), ("post.display_score=0",))
    )
    assert (usual.display_score, keen.display_score) == (0.5, 0.0)
    assert torch.equal(usual.instances.scores, keen.instances.scores)
    assert keen.plot().tobytes() != usual.plot().tobytes()


def test_learning_rates_by_prefix():
    settings = build_optimizer_settings(tiny_config("optim.lr_scales={query.: 0.3}", "optim.encoder_lr_scale=0.5"))
    assert settings.lr_scales["query."] == 0.3
    assert settings.lr_scales.get("encoder.", 0.5) == 0.5


@pytest.mark.parametrize(("most", "same"), [(0, False), (30, True)])
def test_drawn_records_are_remembered_when_that_is_asked_for(most: int, same: bool):
    mixture = build_mixture(tiny_config(*SOURCES, f"data.remember={most}"), tiny_tokenizer()).mixture
    dataset = mixture.sources["phrases"].dataset
    assert (dataset[3] is dataset[3]) == same
