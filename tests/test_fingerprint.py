"""Weights that say what they mean only together with, and what happens when that differs."""

from pathlib import Path

import pytest
from oracles.tiny import build_tiny, tiny_config, tiny_perceiver, tiny_tokenizer
from safetensors.torch import load_file, save_file

import mvplm
from mvplm.fingerprint import check_fingerprint, fingerprint, read_metadata
from mvplm.prompts import train_scenes_tokenizer


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_perceiver().save(tmp_path_factory.mktemp("model"))


def test_a_saved_model_carries_it(saved: Path) -> None:
    stored = read_metadata(saved / "model.safetensors")
    assert stored["connector.conv2_repeats"] == "1"
    assert stored["decoder.level_order"] == "fine_to_coarse"
    assert stored["llm.sha256"] == tiny_tokenizer().hash()
    assert stored["llm.summary_id"] == str(tiny_tokenizer().summary_id)


def test_a_second_convolution_applied_another_number_of_times_is_refused(saved: Path, tmp_path: Path) -> None:
    for file in saved.rglob("*"):
        if file.is_file():
            (tmp_path / file.relative_to(saved)).parent.mkdir(exist_ok=True)
            (tmp_path / file.relative_to(saved)).write_bytes(file.read_bytes())
    config = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(config.replace("conv2_repeats: 1", "conv2_repeats: 2"))
    with pytest.raises(ValueError, match=r"connector\.conv2_repeats is 1 in the file, 2 in the configuration"):
        mvplm.load(tmp_path)


def test_another_tokenizer_is_refused(saved: Path, tmp_path: Path) -> None:
    other = train_scenes_tokenizer(("something else entirely",), vocab_size=600)
    with pytest.raises(ValueError, match=r"llm\.sha256 is .* in the file"):
        check_fingerprint(saved / "model.safetensors", tiny_config(), tokenizer=other)
    check_fingerprint(saved / "model.safetensors", tiny_config(), tokenizer=None)
    check_fingerprint(saved / "model.safetensors", tiny_config(), tokenizer=other, skip=["llm."])


def test_only_the_parts_in_a_file_count_and_older_files_pass(saved: Path, tmp_path: Path) -> None:
    whole = fingerprint(tiny_config(), tiny_tokenizer(), parts=["connector", "decoder", "selector", "llm"])
    assert {name.split(".")[0] for name in whole} == {"connector", "decoder", "selector", "llm"}
    assert fingerprint(tiny_config(), None, parts=["encoder"]) == {}
    bare = tmp_path / "model.safetensors"
    save_file(load_file(saved / "model.safetensors"), str(bare))
    check_fingerprint(bare, tiny_config("model.connector.conv2_repeats=2"), tokenizer=tiny_tokenizer())
    bare.write_bytes(b"no file")
    with pytest.raises(ValueError, match=r"model\.safetensors is no readable safetensors file"):
        check_fingerprint(bare, tiny_config(), tokenizer=tiny_tokenizer())


def test_applying_the_convolution_twice_changes_the_answer() -> None:
    import torch

    once, twice = (build_tiny(0, f"model.connector.conv2_repeats={n}").model.connector for n in (1, 2))
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))
    feature = torch.randn(1, 24, 2, 2)
    assert not torch.allclose(once(feature), twice(feature))
