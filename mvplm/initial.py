"""Weights that the parts of a fresh network start from: directories, files, or ids of the Hub's cache."""

import re
from pathlib import Path
from typing import Any

import torch

from mvplm.config import Config
from mvplm.config.model import LanguageConfig
from mvplm.engine import load_weights
from mvplm.models.convert import (
    PHI,
    Options,
    convert,
    find_encoder,
    read_checkpoint,
    read_config,
    timm_encoder_tensors,
    weight_files,
)
from mvplm.models.mvplm import MVPLM
from mvplm.models.vision import SwinEncoder
from mvplm.prompts import PromptTokenizer

TOKENIZER_FILE = "tokenizer.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_WANTED = ["*.safetensors", "*.bin", "*.json", "*.txt"]


def find_pretrained(name: str | Path, what: str, *, local_files_only: bool = True) -> Path:
    """The file or directory behind a path or a Hub id.

    Args:
        name: a path, or ``owner/name`` on the Hub.
        what: the setting that gave it, for messages.
        local_files_only: look into the Hub's local cache only; False downloads what is missing.

    Raises:
        FileNotFoundError: nothing there; the message says what to do.
    """
    place = Path(name)
    if place.exists():
        return place
    if not _HUB_ID.fullmatch(str(name)):
        raise FileNotFoundError(f"{what}: there is no file or directory {name}")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(name), local_files_only=local_files_only, allow_patterns=_WANTED))
    except LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{what}: there is no directory {name}, and {name} of the Hub is not in the local cache; "
            "copy it there, or allow the download with local_files_only=False"
        ) from error


def language_folder(name: str | Path, *, local_files_only: bool = True, needs_tokenizer: bool = True) -> Path:
    """The directory of a causal Phi with everything that is needed.

    Args:
        name: directory or Hub id. local_files_only: see :func:`find_pretrained`.
        needs_tokenizer: whether its tokenizer is wanted too.

    Raises:
        FileNotFoundError: the directory or one of its files is missing; the message names it.
    """
    folder = find_pretrained(name, "language_model", local_files_only=local_files_only)
    needed = ["config.json", *([TOKENIZER_FILE] if needs_tokenizer else [])]
    missing = [file for file in needed if not (folder / file).is_file()]
    if missing:
        raise FileNotFoundError(
            f"language_model: {folder} has no {' and no '.join(missing)}; it must be a directory as transformers saves "
            "it: config.json, tokenizer.json and model.safetensors (or shards with their index)"
        )
    weight_files(folder)
    return folder


def load_initial_weights(
    model: MVPLM, config: Config, *, tokenizer: PromptTokenizer | None = None, local_files_only: bool = True
) -> None:
    """Give the parts of a fresh model the weights that the configuration lets them start from, strictly.

    Args:
        model: changed in place.
        config: names the files.
        tokenizer: with it the summary token's rows of a loaded language model start as the mean of all words.
        local_files_only: see :func:`find_pretrained`.

    Raises:
        ValueError: a file does not fit its part.
        FileNotFoundError: there is no such file.
    """
    encoder, language = config.model.encoder.weights, config.model.llm.weights
    if encoder is not None:
        _load_encoder(model, find_pretrained(encoder, "encoder", local_files_only=local_files_only))
    if language is not None:
        _load_language(
            model, find_pretrained(language, "language_model", local_files_only=local_files_only), llm=config.model.llm
        )
    if tokenizer is not None and (language is not None or config.model.llm.kind == "auto"):
        start_summary_rows(model, tokenizer)


def start_summary_rows(model: MVPLM, tokenizer: PromptTokenizer) -> None:
    """Set the summary token's input and output rows (and bias) to the mean over the tokenizer's own vocabulary.

    Args:
        model: changed in place.
        tokenizer: a summary token it knew before keeps its rows.
    """
    words = tokenizer.tokenizer.backend_tokenizer.get_vocab_size(with_added_tokens=False)
    if tokenizer.summary_id < words:
        return
    head = model.llm.lm_head
    tables = [model.llm.model.get_input_embeddings().weight]
    if head is not None:
        tables += [head.weight, *([head.bias] if head.bias is not None else [])]
    with torch.no_grad():
        for table in tables:
            table[tokenizer.summary_id] = table[:words].float().mean(0)


def _load_encoder(model: MVPLM, place: Path) -> None:
    tensors = read_checkpoint(place).tensors
    own = model.encoder.state_dict()
    if not isinstance(model.encoder, SwinEncoder) or set(tensors) <= set(own):
        try:
            load_weights(model.encoder, timm_encoder_tensors(tensors, own))
        except ValueError as error:
            raise ValueError(f"encoder: {place} does not fit: {error}") from error
        return
    found = find_encoder(tensors)
    try:
        expected = {f"encoder.{name}": tensor.shape for name, tensor in own.items()}
        converted = convert(found.tensors, found.source, expected=expected)
    except ValueError as error:
        raise ValueError(f"encoder: {place} does not fit: {error}") from error
    load_weights(model.encoder, {name.removeprefix("encoder."): value for name, value in converted.tensors.items()})


def _load_language(model: MVPLM, place: Path, *, llm: LanguageConfig) -> None:
    check_language_sizes(read_config(place if place.is_dir() else place.parent), llm, place=place)
    expected = {f"llm.{name}": tensor.shape for name, tensor in model.llm.state_dict().items()}
    try:
        options = Options(text_heads=llm.heads)
        converted = convert(read_checkpoint(place).tensors, PHI, expected=expected, options=options)
    except ValueError as error:
        raise ValueError(f"language_model: {place} does not fit: {error}") from error
    load_weights(model.llm, {name.removeprefix("llm."): value for name, value in converted.tensors.items()})


def check_language_sizes(stored: dict[str, Any], llm: LanguageConfig, *, place: Path) -> None:
    """Compare what a ``config.json`` says with the configured language model.

    Raises:
        ValueError: another kind of model, or other sizes; the message lists them.
    """
    if not stored:
        return
    kind = stored.get("model_type")
    if kind != "phi":
        raise ValueError(
            f"language_model: {place} is of the type {kind!r}, expected 'phi'; other causal models are used with "
            f"model.llm.kind=auto model.llm.path={place}"
        )
    rope = {**stored, **(stored.get("rope_parameters") or {})}
    pairs = {
        "hidden_size": ("hidden_size", llm.hidden_size),
        "layers": ("num_hidden_layers", llm.layers),
        "heads": ("num_attention_heads", llm.heads),
        "ffn": ("intermediate_size", llm.ffn),
        "embedding_rows": ("vocab_size", llm.embedding_rows),
        "rope_fraction": ("partial_rotary_factor", llm.rope_fraction),
        "rope_theta": ("rope_theta", llm.rope_theta),
    }
    wrong = [
        f"{key} {rope[theirs]} instead of {value}"
        for key, (theirs, value) in pairs.items()
        if rope.get(theirs) not in (None, value) and not (key == "embedding_rows" and value == 0)
    ]
    if wrong:
        raise ValueError(
            f"language_model: {place} has other sizes than the model that is built: {', '.join(wrong)}; "
            "choose the preset of that size, or set model.llm.* accordingly"
        )
    other = [key for key in ("qk_layernorm",) if stored.get(key)]
    if stored.get("num_key_value_heads") not in (None, llm.heads):
        other.append("num_key_value_heads")
    if other:
        raise ValueError(f"language_model: {place} uses {' and '.join(other)}, which the built-in Phi has not")
