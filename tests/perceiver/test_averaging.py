"""Means of models."""

from pathlib import Path

import pytest
import torch
from oracles.tiny import VOCABULARY, build_tiny
from safetensors.torch import load_file, save_file

from mvplm.averaging import average_models
from mvplm.perceiver import load


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        perceiver = build_tiny()
        perceiver.vocabulary = VOCABULARY
        for parameter in perceiver.model.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.01)
        folders.append(perceiver.save(tmp_path_factory.mktemp("models") / f"seed_{seed}"))
    return folders


def test_weights_are_the_mean_and_the_rest_is_that_of_the_last(models: list[Path], tmp_path: Path):
    out = average_models(models, tmp_path / "mean")
    one, other, mean = (load_file(folder / "model.safetensors") for folder in (*models, out))
    assert one.keys() == mean.keys()
    for name, value in mean.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (one[name] + other[name]) / 2)
    loaded = load(out)
    assert loaded.provenance["source"] == "mean of seed_0, seed_1"
    assert loaded.vocabulary == VOCABULARY


def test_other_networks_and_single_models_are_refused(models: list[Path], tmp_path: Path):
    with pytest.raises(ValueError, match="two models or more, got 1"):
        average_models(models[:1], tmp_path / "out")
    weights = load_file(models[0] / "model.safetensors")
    (tmp_path / "less").mkdir()
    save_file(
        {name: value for name, value in weights.items() if name != "stuff.content"},
        tmp_path / "less" / "model.safetensors",
    )
    with pytest.raises(ValueError, match="does not have the tensors of the models before it: stuff.content"):
        average_models([models[0], tmp_path / "less"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
