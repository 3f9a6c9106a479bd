"""Converted directories: what is written, and that training and loading understand it."""

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from oracles.release_layout import ReleaseSizes, made_up_release
from oracles.swin_layouts import SIZES, family_swin
from oracles.tiny import tiny_tokenizer
from safetensors.torch import load_file

import mvplm
from mvplm.build import build_model
from mvplm.config import Config, load_config
from mvplm.conversion import convert_checkpoint, missing_prefixes, options_from
from mvplm.engine import load_weights
from mvplm.fingerprint import read_metadata
from mvplm.models.convert import Options, Strictness

SMALL = (
    "model.connector={stride: 32, width: 32}",
    "model.llm={vocab_size: 600, embedding_rows: 0, hidden_size: 32, layers: 1, heads: 4, ffn: 48}",
    "model.query.num=10",
    "model.stuff.num=4",
    "model.pixel_decoder={width: 32, mask_width: 32, layers: 1, heads: 4, points: 2, ffn: 48}",
    "model.decoder={layers: 1, heads: 4, points: 2, ffn: 48}",
    "image.size=64",
)


@pytest.fixture(scope="module")
def swin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A converted Swin."""
    folder = tmp_path_factory.mktemp("swin")
    torch.save({"model": family_swin()}, folder / "swin.pth")
    done = convert_checkpoint("swin-timm", folder / "swin.pth", out=folder / "out", overrides=SMALL)
    assert not done.whole and done.folder == folder / "out"
    return done.folder


def test_parts_are_written_with_sizes_and_report(swin: Path) -> None:
    assert sorted(file.name for file in swin.iterdir()) == ["conversion.json", "model.safetensors", "partial.yaml"]
    written = json.loads((swin / "conversion.json").read_text())
    assert written["report"]["source"] == "swin-timm" and not written["report"]["missing"]
    assert list(written["provenance"]["files"]) == ["swin.pth"]
    assert "computed from the sizes" in written["report"]["unused"].values()
    config = load_config(swin / "partial.yaml")
    assert config.model.encoder.kwargs["window_size"] == SIZES["window_size"]
    assert config.train.init_from == str(swin)
    assert config.train.init_allow == [
        "connector.", "text.", "pixel_decoder.", "selector.", "query.", "stuff.", "decoder.", "heads.", "llm.",
    ]  # fmt: skip


def test_a_run_starts_from_them(swin: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.yaml"
    run.write_text(f"_BASE_: {swin / 'partial.yaml'}\n")
    config = load_config(run, SMALL)
    model = build_model(config, tiny_tokenizer())
    report = load_weights(model, swin / "model.safetensors", allow_missing=config.train.init_allow)
    stored = load_file(swin / "model.safetensors")
    assert report.loaded == len(stored) == len(model.encoder.state_dict())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in stored.items())


def test_parts_are_no_model_to_load(swin: Path) -> None:
    with pytest.raises(ValueError, match=r"parts of a network, not a whole one: .*_BASE_: .*partial\.yaml"):
        mvplm.load(swin)


def test_prefixes_cover_what_is_missing_and_nothing_else() -> None:
    expected = ["a.x.w", "a.x.b", "a.y.w", "b.w", "c"]
    assert missing_prefixes(expected, loaded=["a.x.w"]) == ["a.x.b", "a.y.", "b.", "c"]
    assert missing_prefixes(expected, loaded=expected) == []


def test_heads_come_from_the_configuration_beside_the_file() -> None:
    assert options_from({"model_type": "mask2former", "num_attention_heads": 4}).heads == 4
    assert options_from({"model_type": "phi", "num_attention_heads": 16}) == Options(text_heads=16)
    assert options_from({"model_type": "swin", "num_attention_heads": 3}) == Options()
    assert options_from({"model_type": "mask2former", "num_attention_heads": 4}, heads=2, levels=None).heads == 2


def test_unknown_kinds_are_answered_with_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'swin-timm'"):
        convert_checkpoint("swin-tim", tmp_path, out=tmp_path / "out")


# Words of the tiny tokenizer; the release has two tokens more, its paper-style start one more again.
WORDS = 457
RELEASE = ReleaseSizes(
    embed_dim=8,
    depths=(1, 1, 1, 1),
    heads=(1, 1, 2, 2),
    window=4,
    rows=WORDS + 2,
    text=32,
    text_layers=2,
    text_ffn=48,
    connector=32,
    width=64,
    encoder_layers=1,
    layers=2,
    ffn=48,
    stuff=5,
    queries=7,
)
SMALLER = ("image.size=128", "model.query.num=7", "prompt.max_length=512", "model.llm.context=512")
KNOWS_RELEASED = next(spec for spec in fields(Config) if spec.name == "behaviour").metadata["choices"] != ("paper",)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A tiny model of the public release, with its tokenizer of two tokens more than the words."""
    assert tiny_tokenizer().vocab_size == WORDS + 1
    folder = tmp_path / "released"
    folder.mkdir()
    tokenizer = json.loads(tiny_tokenizer().tokenizer.backend_tokenizer.to_str())
    kept = [token for token in tokenizer["added_tokens"] if token["content"] != "<PER>"]
    named = [{**kept[0], "content": text, "id": WORDS + i} for i, text in enumerate(("[PAD]", "[SEG]"))]
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "added_tokens": [*kept, *named]}))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    (folder / "config.json").write_text(json.dumps({"model_type": "openseed_phi", "num_attention_heads": 4}))
    torch.save(made_up_release(RELEASE), folder / "pytorch_model.bin")
    return folder


def test_a_released_model_becomes_a_start_that_loads(release: Path, tmp_path: Path) -> None:
    options = Options(text_heads=4, as_init=True)
    done = convert_checkpoint("mvplm-release", release, out=tmp_path / "out", options=options, overrides=SMALLER)
    assert done.whole and not done.summary.missing
    perceiver = mvplm.load(tmp_path / "out", device="cpu")
    assert perceiver.config.behaviour == "paper" and perceiver.tokenizer.summary_id == WORDS + 2
    assert perceiver.model.llm.lm_head.weight.shape[0] == WORDS + 3
    assert perceiver.config.model.connector.conv2_repeats == 2
    assert not perceiver.model.query.slots.any()
    provenance = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert provenance["source"].startswith("initialised from")
    assert "thing_query.weight" in load_file(tmp_path / "out" / "unused.safetensors")
    stored = read_metadata(tmp_path / "out" / "model.safetensors")
    assert stored["connector.conv2_repeats"] == "2" and stored["llm.summary_id"] == str(WORDS + 2)


@pytest.mark.skipif(not KNOWS_RELEASED, reason="the behaviour 'released' is not among the configuration's choices")
def test_a_released_model_becomes_a_model_that_loads(release: Path, tmp_path: Path) -> None:
    done = convert_checkpoint("mvplm-release", release, out=tmp_path / "out", overrides=SMALLER)
    assert done.whole and not done.summary.missing and not done.summary.filled
    perceiver = mvplm.load(tmp_path / "out", device="cpu")
    assert perceiver.config.behaviour == "released"
    assert perceiver.model.llm.lm_head.bias is None
    picture = torch.randint(0, 256, (3, 80, 128), dtype=torch.uint8)
    found = perceiver.predict(picture, classes=["star", "ring"])
    assert found.size == (80, 128)


def test_a_model_needs_its_tokenizer(release: Path, tmp_path: Path) -> None:
    (release / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer .*model\.llm\.tokenizer=DIR"):
        convert_checkpoint("mvplm-release", release, out=tmp_path / "out", options=Options(text_heads=4, as_init=True))


def test_a_connector_alone_becomes_a_part(tmp_path: Path) -> None:
    own = {name: tensor for name, tensor in made_up_release(RELEASE).items() if "mm_projector" in name}
    torch.save(own, tmp_path / "mm_projector.bin")
    settings = (
        "model.encoder.kwargs={embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 4}",
        "model.llm={hidden_size: 32, layers: 1, heads: 4, ffn: 48}",
        "model.connector.conv2_repeats=2",
    )
    done = convert_checkpoint(
        "mvplm-release",
        tmp_path / "mm_projector.bin",
        out=tmp_path / "out",
        options=Options(as_init=True),
        strictness=Strictness(),
        overrides=settings,
    )
    assert not done.whole and {name.split(".")[0] for name in done.summary.loaded} == {"connector"}
    assert read_metadata(tmp_path / "out" / "model.safetensors") == {"connector.conv2_repeats": "2"}
