"""Sharing: model cards, what is uploaded, and loading from the Hub's cache. The Hub itself is a double."""

import json
import types
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from oracles.tiny import VOCABULARY

import mvplm
from mvplm.perceiver import Perceiver

PROVENANCE = {
    "source": "trained from scratch",
    "step": 7,
    "sources": {"panoptic": "scenes/train"},
    "versions": {"a": 1},
}


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---")[1])


def section(card: str, title: str) -> str:
    return card.split(f"## {title}\n")[1].split("\n## ")[0].strip()


@pytest.fixture(scope="module")
def shared(perceiver: Perceiver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-one"
    return perceiver.save_pretrained(
        folder, provenance=PROVENANCE, license="apache-2.0", metrics={"panoptic/PQ": 12.345}
    )


def test_the_same_answers_bit_for_bit(perceiver: Perceiver, picture, shared: Path, loose):
    loaded = mvplm.Perceiver.from_pretrained(shared, device="cpu")
    states = perceiver.model.state_dict(), loaded.model.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for question in ({"classes": VOCABULARY.names, "mode": "skip"}, {"text": "the star left of the ring"}):
        one, two = (p.predict(picture, settings=loose, **question) for p in (perceiver, loaded))
        assert len(one.instances) and one.caption == two.caption
        for part in ("boxes", "scores", "masks", "class_index"):
            assert torch.equal(getattr(one.instances, part), getattr(two.instances, part))
    one, two = (p.predict(picture, classes=VOCABULARY.names, task="semantic", mode="skip") for p in (perceiver, loaded))
    assert torch.equal(one.semantic.class_map, two.semantic.class_map)


def test_the_directory_has_a_card_and_nothing_unexpected(shared: Path):
    assert {path.name for path in shared.iterdir()} == {
        "README.md",
        "config.yaml",
        "model.safetensors",
        "provenance.json",
        "tokenizer",
        "vocabulary.json",
    }


def test_the_card_tells_what_is_known(perceiver: Perceiver, shared: Path):
    card = (shared / "README.md").read_text(encoding="utf-8")
    known = front_matter(card)
    assert (known["license"], known["library_name"]) == ("apache-2.0", "mvplm")
    assert known["pipeline_tag"] == "image-segmentation" and "mvp-lm" in known["tags"]
    assert card.split("---")[2].strip().startswith("# tiny-one")
    count = sum(p.numel() for p in perceiver.model.parameters())
    assert f"* parameters: {count:,}" in card and "* names it knows: 5: star, ring, sky" in card
    assert section(card, "Trained on") == "* source: trained from scratch\n* step: 7\n* sources: panoptic: scenes/train"
    assert section(card, "How good").endswith("| `panoptic/PQ` | 12.3 |")
    assert section(card, "Licence of the weights") == "apache-2.0"


def test_the_card_guesses_nothing(perceiver: Perceiver, tmp_path: Path):
    bare = Perceiver(perceiver.model, perceiver.tokenizer, config=perceiver.config, settings=perceiver.settings)
    card = (bare.save_pretrained(tmp_path) / "README.md").read_text(encoding="utf-8")
    assert "license" not in front_matter(card)
    assert section(card, "Trained on") == "* data: not stated"
    assert section(card, "How good") == "Not measured." and section(card, "Licence of the weights") == "Not stated."


def test_where_weights_come_from_is_not_lost(shared: Path, tmp_path: Path):
    loaded = mvplm.load(shared, device="cpu")
    assert loaded.provenance == PROVENANCE
    again = loaded.save(tmp_path / "again")
    assert json.loads((again / "provenance.json").read_text()) == PROVENANCE
    assert json.loads((loaded.save(tmp_path / "b", provenance={"x": 1}) / "provenance.json").read_text()) == {"x": 1}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is asked of the Hub, in order; uploads remember the files they would send."""
    calls: list[tuple] = []

    class Api:
        def __init__(self, token: str | None = None) -> None:
            calls.append(("token", token))

        def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> None:
            calls.append(("create", repo_id, private, exist_ok))

        def upload_folder(self, *, repo_id: str, folder_path: Path, revision: str | None, commit_message: str):
            files = {str(p.relative_to(folder_path)): p.stat().st_size for p in folder_path.rglob("*") if p.is_file()}
            card = (folder_path / "README.md").read_text(encoding="utf-8")
            calls.append(("upload", repo_id, revision, commit_message, files, card))
            return types.SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/1")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    return calls


def test_pushing_uploads_a_complete_model(perceiver: Perceiver, hub: list[tuple]):
    address = perceiver.push_to_hub("someone/tiny", private=True, token="secret", revision="main", half=True)
    assert address == "https://hub/someone/tiny/commit/1"
    token, create, upload = hub
    assert token == ("token", "secret") and create == ("create", "someone/tiny", True, True)
    assert upload[:4] == ("upload", "someone/tiny", "main", "Upload an mvplm model")
    assert {"README.md", "config.yaml", "model.safetensors", "vocabulary.json"} <= set(upload[4])
    assert any(name.startswith("tokenizer") for name in upload[4])
    values = sum(value.numel() for value in perceiver.model.state_dict().values())
    assert upload[4]["model.safetensors"] < 3 * values
    assert 'from_pretrained("someone/tiny", local_files_only=False)' in upload[5] and "secret" not in upload[5]


def test_saving_and_loading_ask_nothing_of_the_hub(perceiver: Perceiver, hub: list[tuple], tmp_path: Path):
    mvplm.Perceiver.from_pretrained(perceiver.save_pretrained(tmp_path), device="cpu")
    assert hub == []


@pytest.fixture
def cache(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Hub cache that holds someone/tiny, as a download would have left it."""
    repository = tmp_path / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(shared, target_is_directory=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_a_model_in_the_cache_loads_without_network(cache: Path):
    assert mvplm.Perceiver.from_pretrained("someone/tiny", device="cpu").vocabulary == VOCABULARY
    with pytest.raises(ValueError, match=r"no model 'someone/other'.*local_files_only=False to look on the Hub"):
        mvplm.Perceiver.from_pretrained("someone/other")
    with pytest.raises(ValueError, match="no model 'someone/tiny'"):
        mvplm.Perceiver.from_pretrained("someone/tiny", revision="v2")


def test_a_download_is_asked_for_only_what_is_needed(shared: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[dict] = []

    def snapshot(name: str, **given) -> str:
        asked.append({"name": name, **given})
        return str(shared)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    loaded = mvplm.Perceiver.from_pretrained("someone/tiny", device="cpu", local_files_only=False, revision="v1")
    assert loaded.vocabulary == VOCABULARY
    (call,) = asked
    assert (call["name"], call["revision"], call["local_files_only"]) == ("someone/tiny", "v1", False)
    assert not any(pattern.endswith((".py", ".bin", ".pt")) or pattern == "*" for pattern in call["allow_patterns"])


def test_other_peoples_repositories_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(tmp_path))
    with pytest.raises(ValueError, match=r"has no config\.yaml: it is not a model of mvplm"):
        mvplm.load("someone/bert", local_files_only=False)


def test_an_unreachable_hub_is_an_error_that_names_the_model(monkeypatch: pytest.MonkeyPatch):
    def unreachable(name: str, **_) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(ValueError, match="no model 'someone/tiny' can be had from the Hub: .*no connection"):
        mvplm.load("someone/tiny", local_files_only=False)
