"""Models on disk: what is written, that the same answers come back, and what cannot be loaded."""

import json
from pathlib import Path

import pytest
import torch
from oracles.tiny import VOCABULARY, build_tiny
from safetensors import safe_open

import mvplm
from mvplm import pretrained
from mvplm.perceiver import Perceiver


@pytest.fixture(scope="module")
def saved(perceiver: Perceiver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perceiver.save(tmp_path_factory.mktemp("models") / "deep" / "tiny", provenance={"source": "tests"})


def test_the_directory_is_complete(saved: Path):
    assert sorted(path.name for path in saved.iterdir()) == [
        "config.yaml",
        "model.safetensors",
        "provenance.json",
        "tokenizer",
        "vocabulary.json",
    ]
    assert json.loads((saved / "provenance.json").read_text()) == {"source": "tests"}


@pytest.mark.parametrize("kind", [str, Path])
def test_a_loaded_model_answers_identically(perceiver: Perceiver, picture, saved: Path, kind, loose):
    loaded = mvplm.load(kind(saved), device="cpu")
    assert isinstance(loaded, mvplm.Perceiver) and not loaded.model.training
    assert (loaded.vocabulary, loaded.config, loaded.settings) == (VOCABULARY, perceiver.config, perceiver.settings)
    assert loaded.tokenizer.hash() == perceiver.tokenizer.hash()
    assert (loaded.dtype, loaded.device) == ("fp32", torch.device("cpu"))
    for question in ({"classes": ["star", "sky"], "task": "panoptic"}, {"text": "the star left of the green circle"}):
        first, second = (p.predict(picture, settings=loose, **question) for p in (perceiver, loaded))
        one, two = first.to_dict(), second.to_dict()
        assert one.pop("timings").keys() == two.pop("timings").keys()
        assert one == two and first.caption


def test_half_precision_halves_the_file_and_hardly_changes_the_answer(
    perceiver: Perceiver, picture, saved: Path, tmp_path: Path
):
    half = perceiver.save(tmp_path, half=True)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (saved, half)]
    assert 0.45 < sizes[1] / sizes[0] < 0.55
    with safe_open(half / "model.safetensors", "pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds <= {torch.bfloat16, torch.int64} and torch.bfloat16 in kinds
    loaded = mvplm.load(half, device="cpu")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert {p.dtype for p in perceiver.model.parameters()} == {torch.float32}
    maps = [p.predict(picture, classes=["star", "ring"], task="semantic", mode="skip") for p in (perceiver, loaded)]
    best = [p.predict(picture, text="the left one", mode="skip").presence for p in (perceiver, loaded)]
    assert best[0] == pytest.approx(best[1], abs=0.05)
    assert maps[0].semantic.class_map.shape == maps[1].semantic.class_map.shape


def test_bfloat16_arithmetic_gives_full_precision_results(picture, saved: Path, loose):
    answer = mvplm.load(saved, device="cpu", dtype="bf16").predict(picture, classes=["star"], settings=loose)
    assert answer.instances.boxes.dtype == answer.instances.scores.dtype == torch.float32


def test_without_a_vocabulary_every_name_is_a_thing(perceiver: Perceiver, picture, tmp_path: Path):
    bare = Perceiver(perceiver.model, perceiver.tokenizer, config=perceiver.config, settings=perceiver.settings)
    loaded = mvplm.load(bare.save(tmp_path), device="cpu")
    assert loaded.vocabulary is None and not (tmp_path / "vocabulary.json").exists()
    assert set(loaded.predict(picture, classes=["sky"], mode="skip").instances.labels) == {"sky"}


@pytest.fixture
def shelf(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of shipped models with one entry, ``tiny-one``."""
    (tmp_path / "tiny-one").symlink_to(saved, target_is_directory=True)
    monkeypatch.setattr(pretrained, "_ASSETS", tmp_path)
    return tmp_path


def test_an_unknown_name_lists_what_is_shipped(shelf: Path):
    assert pretrained.shipped_models() == ["tiny-one"]
    assert mvplm.load("tiny-one", device="cpu").vocabulary == VOCABULARY
    with pytest.raises(ValueError, match=r"no model 'tiny-on' \(did you mean 'tiny-one'\?\).*shipped \(tiny-one\)"):
        mvplm.load("tiny-on")
    with pytest.raises(ValueError, match=r"no model 'someone/else'.*local_files_only=False to look on the Hub"):
        mvplm.load("someone/else")


def test_an_incomplete_directory_is_named(saved: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_text((saved / "config.yaml").read_text())
    with pytest.raises(ValueError, match=r"has a config\.yaml but no model\.safetensors"):
        mvplm.load(tmp_path)


def test_weights_of_another_network_are_refused(saved: Path, tmp_path: Path):
    other = build_tiny(0, "model.decoder.layers=3").save(tmp_path)
    (other / "config.yaml").write_text((saved / "config.yaml").read_text())
    with pytest.raises(ValueError, match=r"(?s)does not fit the model.*unexpected: decoder\.layers\.2"):
        mvplm.load(other)


def test_a_wrong_dtype_lists_the_choices(saved: Path):
    with pytest.raises(ValueError, match="dtype must be one of auto, fp32, bf16, got 'fp23' .*'fp32'"):
        mvplm.load(saved, dtype="fp23")


def test_training_starts_from_shipped_names_and_directories(tmp_path: Path):
    assert pretrained.starting_weights("mvplm-tiny-scenes").is_file()
    assert pretrained.starting_weights(str(tmp_path)) == tmp_path / "model.safetensors"
