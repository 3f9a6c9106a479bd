"""Parts that start from directories: right weights in, and a message that says what is missing."""

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from oracles.conversion import close, randomise
from oracles.swin_layouts import SIZES, family_swin
from oracles.tiny import SETTINGS, tiny_tokenizer
from safetensors.torch import load_file, save_file

import mvplm
from mvplm.config import load_config
from mvplm.models.vision import SwinEncoder

PHI = {"vocab_size": 640, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}


@cache
def overrides() -> dict[str, object]:
    """The tiny network's settings as keyword arguments of ``create_model``, with a Swin."""
    config = load_config(None, [item for item in SETTINGS if not item.startswith("model.encoder")])
    llm = {"hidden_size": 48, "layers": 2, "heads": 4, "ffn": 96, "embedding_rows": 640}
    sizes = {
        "model__connector": {"stride": 32, "width": 32},
        "model__llm": llm,
        "model__query__num": config.model.query.num,
        "model__pixel_decoder": {"width": 32, "mask_width": 32, "layers": 1, "heads": 4, "points": 2, "ffn": 48},
        "model__decoder": {"layers": 1, "heads": 4, "points": 2, "ffn": 48},
        "image__size": 64,
    }
    kwargs = {key: list(value) if isinstance(value, tuple) else value for key, value in SIZES.items()}
    return {**sizes, "model__encoder__kwargs": kwargs}


def create(**given: object) -> mvplm.models.mvplm.MVPLM:
    return mvplm.create_model("mvplm-swin-b-phi-1.5", **overrides(), **given)


@pytest.fixture(scope="module")
def phi_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Phi with its tokenizer, as transformers saves it."""
    from transformers import PhiConfig, PhiForCausalLM

    folder = tmp_path_factory.mktemp("phi")
    torch.manual_seed(0)
    randomise(PhiForCausalLM(PhiConfig(**PHI, bos_token_id=None, eos_token_id=None))).save_pretrained(folder)
    plain = json.loads(tiny_tokenizer().tokenizer.backend_tokenizer.to_str())
    plain["added_tokens"] = [token for token in plain["added_tokens"] if token["content"] != "<PER>"]
    (folder / "tokenizer.json").write_text(json.dumps(plain))
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def test_a_language_model_starts_from_a_directory_and_the_summary_token_from_the_mean(phi_folder: Path) -> None:
    model = create(language_model=phi_folder)
    stored = load_file(phi_folder / "model.safetensors")
    own = model.llm.state_dict()
    per = model.tokens.summary
    words = tiny_tokenizer().vocab_size - 1
    assert own.keys() == stored.keys() and per == words
    for name, tensor in stored.items():
        if name in ("model.embed_tokens.weight", "lm_head.weight", "lm_head.bias"):
            assert close(own[name][per], tensor[:words].mean(0), 1e-5)
            tensor = torch.cat([tensor[:per], own[name][per : per + 1], tensor[per + 1 :]])
        assert torch.equal(own[name], tensor)


def test_a_missing_file_is_named_with_what_to_do(phi_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no file or directory .*nowhere"):
        create(language_model=tmp_path / "nowhere")
    for file in ("config.json", "tokenizer.json"):
        (tmp_path / "config.json").write_text((phi_folder / "config.json").read_text())
        (tmp_path / "tokenizer.json").write_text((phi_folder / "tokenizer.json").read_text())
        (tmp_path / file).unlink()
        with pytest.raises(FileNotFoundError, match=rf"has no {file}; it must be a directory as transformers saves it"):
            create(language_model=tmp_path)
    (tmp_path / "tokenizer.json").write_text((phi_folder / "tokenizer.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"holds no weights: looked for model\.safetensors"):
        create(language_model=tmp_path)


def test_a_hub_id_is_looked_for_in_the_cache_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for part in ("language_model", "encoder"):
        with pytest.raises(FileNotFoundError, match=rf"{part}: .*not in the local cache; .*local_files_only=False"):
            create(tokenizer=tiny_tokenizer(), **{part: "someone/something"})


def test_another_size_or_kind_of_language_model_is_refused(phi_folder: Path, tmp_path: Path) -> None:
    for file in phi_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stored = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**stored, "num_hidden_layers": 3, "intermediate_size": 128}))
    with pytest.raises(ValueError, match="other sizes .* layers 3 instead of 2, ffn 128 instead of 96"):
        create(language_model=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**stored, "model_type": "llama"}))
    with pytest.raises(ValueError, match=r"of the type 'llama', expected 'phi'; .*model\.llm\.kind=auto"):
        create(language_model=tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(stored))
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.self_attn.v_proj.bias"]
    save_file(tensors, str(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match=r"1 missing: llm\.model\.layers\.1\.self_attn\.v_proj\.bias"):
        create(language_model=tmp_path)


@pytest.mark.parametrize("layout", ["family", "backbone", "own"])
def test_an_encoder_starts_from_a_file_of_any_layout(layout: str, tmp_path: Path) -> None:
    file = tmp_path / "swin.safetensors"
    family = {name: tensor for name, tensor in family_swin().items() if "relative_position_index" not in name}
    if layout == "own":
        torch.manual_seed(1)
        tensors = {name: tensor.clone() for name, tensor in SwinEncoder(**SIZES).state_dict().items()}
    else:
        tensors = {("" if layout == "family" else "backbone.") + name: tensor for name, tensor in family.items()}
        tensors |= {"sem_seg_head.other.weight": torch.ones(1)} if layout == "backbone" else {}
    save_file(tensors, str(file))
    state = create(tokenizer=tiny_tokenizer(), encoder=file).encoder.state_dict()
    if layout == "own":
        assert all(torch.equal(tensor, tensors[name]) for name, tensor in state.items())
    else:
        assert torch.equal(state["backbone.swin.embeddings.norm.weight"], family["patch_embed.norm.weight"])
        assert torch.equal(state["backbone.hidden_states_norms.stage3.bias"], family["norm2.bias"])


def test_an_encoder_of_another_size_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "swin.safetensors"
    tensors = {name: tensor for name, tensor in family_swin().items() if "layers.2.blocks.1" not in name}
    save_file(tensors, str(file))
    with pytest.raises(ValueError, match=r"encoder: .*swin\.safetensors does not fit: (?s:.*) 17 missing"):
        create(tokenizer=tiny_tokenizer(), encoder=file)
    file.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"swin\.safetensors is no readable safetensors file"):
        create(tokenizer=tiny_tokenizer(), encoder=file)


def test_weights_and_another_kind_of_model_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"leave model\.llm\.weights out"):
        load_config(None, ["model.llm={kind: auto, path: somewhere, weights: elsewhere}"])


@pytest.mark.parametrize("phi", ["1.5", "2"])
@pytest.mark.parametrize("swin", ["t", "b", "l"])
def test_every_preset_is_built_without_memory(swin: str, phi: str) -> None:
    with torch.device("meta"):
        model = mvplm.create_model(f"mvplm-swin-{swin}-phi-{phi}", tokenizer=tiny_tokenizer())
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    width = {"t": 768, "b": 1024, "l": 1536}[swin]
    hidden = {"1.5": 2048, "2": 2560}[phi]
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert counts["llm"] == {"1.5": 1_418_270_720, "2": 2_779_683_840}[phi]
    assert counts["connector"] == 2048 * (9 * width + 9 * 2048 + width + 6) + hidden * 2049
    assert counts["decoder"] + counts["heads"] + counts["selector"] == 14_769_796
    if (swin, phi) == ("b", "1.5"):
        assert counts["encoder"] == 86_880_376
        assert counts["connector"] == 62_928_896
        assert counts["pixel_decoder"] == 11_204_608
        assert (counts["text"], counts["query"], counts["stuff"]) == (1_180_929, 615_936, 26_000)
        assert sum(counts.values()) == 1_595_877_261
