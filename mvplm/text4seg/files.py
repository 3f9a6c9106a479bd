"""Models that write masks, on disk: configuration, processor, weights or adapters, and what they mean together with."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvplm.config import Config, load_config, to_yaml
from mvplm.config.base import near
from mvplm.prompts.mask_tasks import TEMPLATE_VERSION
from mvplm.text4seg.build import (
    MODEL_DIR,
    PROCESSOR_DIR,
    TextMaskSystem,
    assemble,
    build_text_mask,
    read_base,
    read_processor,
)
from mvplm.text4seg.perceiver import TextPerceiver
from mvplm.textmask import BsdCodec, Codec, get_codec
from mvplm.textmask.answer import TAGS
from mvplm.textmask.bricks import BRICKS
from mvplm.writing_perceiver import placement

CONFIG_FILE, FORMAT_FILE = "config.yaml", "text_mask.json"
ADAPTER_DIR = "adapter"
SYSTEMS = {"text4seg": ("isd_rrle", 16), "text4seg++": ("bsd_bricks", 64)}
"""Codec and cells a side of the published systems."""


def describe_format(system: TextMaskSystem, config: Config) -> dict[str, Any]:
    """What answers of a model mean only together with, JSON-ready: stored beside it and compared when it is loaded."""
    codec = system.model.codec
    vocabulary = system.tokenizer.get_vocab()
    return {
        "codec": codec.name,
        "grid": list(codec.grid),
        "row_sep": getattr(codec, "row_sep", None),
        **_spelling(codec),
        "template_version": TEMPLATE_VERSION,
        "tokens": {token: vocabulary[token] for token in (*TAGS, *BRICKS) if token in vocabulary},
        "new_tokens": list(system.new_tokens),
        "tokenizer_sha256": system.tokenizer.hash(),
        "base": config.text_mask.base,
    }


def _spelling(codec: Codec) -> dict[str, Any]:
    """How a box-wise codec spells numbers, where that is not the usual way."""
    if not isinstance(codec, BsdCodec):
        return {}
    usual = get_codec(codec.name, grid=codec.grid)
    found = {key: getattr(codec, key) for key in ("bins", "whole_numbers")}
    return {key: value for key, value in found.items() if value != getattr(usual, key)}


def save_text_perceiver(perceiver: TextPerceiver, directory: str | Path) -> Path:
    """Write a model directory; see :meth:`TextPerceiver.save`. With adapters the base stays where it is.

    A directory that holds the whole model names no base.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    system, model, config = perceiver.system, perceiver.model.model, perceiver.config
    beside_base = bool(config.text_mask.lora.rank) and config.text_mask.base is not None
    if not beside_base:
        config = replace(config, text_mask=replace(config.text_mask, base=None))
    (folder / CONFIG_FILE).write_text(to_yaml(config), encoding="utf-8")
    described = describe_format(system, config)
    (folder / FORMAT_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    system.processor.save_pretrained(str(folder / PROCESSOR_DIR))
    if beside_base:
        model.save_pretrained(str(folder / ADAPTER_DIR), save_embedding_layers=False)
    else:
        whole = model.merge_and_unload() if config.text_mask.lora.rank else model
        whole.save_pretrained(str(folder / MODEL_DIR))
    return folder


def is_text_directory(name: str | Path) -> bool:
    """Whether a directory was written by :func:`save_text_perceiver`."""
    return (Path(name) / FORMAT_FILE).is_file()


def load_text_perceiver(folder: str | Path, *, device: str = "auto", dtype: str = "auto") -> TextPerceiver:
    """A model from a directory of :func:`save_text_perceiver`.

    Raises:
        ValueError: it is none, its base is not there, or tokens, profile or wording are not those it was saved with.
    """
    folder = Path(folder)
    if not is_text_directory(folder):
        raise ValueError(f"{folder} has no {FORMAT_FILE}: it is not a saved model that writes masks as text")
    config = load_config(folder / CONFIG_FILE)
    stored = json.loads((folder / FORMAT_FILE).read_text(encoding="utf-8"))
    processor = read_processor(folder / PROCESSOR_DIR)
    settings = config.text_mask
    if (folder / MODEL_DIR).is_dir():
        system = assemble(read_base(folder / MODEL_DIR), processor, config=config, adapters=False)
    else:
        system = _with_adapters(folder, config, processor=processor)
    found = describe_format(system, config)
    wrong = [
        f"{key}: expected {stored.get(key)!r}, got {found.get(key)!r}"
        for key in {**stored, **found}
        if key != "new_tokens" and stored.get(key) != found.get(key)
    ]
    if wrong:
        raise ValueError(f"{folder} is not what it was saved as: {'; '.join(wrong)[:500]}")
    return placed(system, config, device=device, dtype=dtype if dtype != "auto" else settings.dtype)


def _with_adapters(folder: Path, config: Config, *, processor: Any) -> TextMaskSystem:
    """The base with the adapters of a directory."""
    from peft import PeftModel

    base = config.text_mask.base
    if base is None or not (folder / ADAPTER_DIR).is_dir():
        raise ValueError(f"{folder} has neither {MODEL_DIR} nor {ADAPTER_DIR} with text_mask.base in its configuration")
    # The base's own processor tells which tokens are new, so that rows are started as they were in training.
    plain = build_text_mask(config, adapters=False)
    plain.model.model = PeftModel.from_pretrained(plain.model.model, str(folder / ADAPTER_DIR))
    return TextMaskSystem(plain.model, processor, plain.frame, plain.new_tokens)


def load_system(name: str, model: str | Path, *, device: str = "auto", dtype: str = "auto") -> TextPerceiver:
    """A published system around a model.

    Args:
        name: "text4seg" or "text4seg++". model: a saved directory, or a base model with its processor, whose new
            tokens mean nothing until it is trained.
        device, dtype: see :func:`mvplm.load`.

    Raises:
        ValueError: an unknown system, or a saved model of the other one.
    """
    if name not in SYSTEMS:
        raise ValueError(f"unknown system {name!r}{near(name, list(SYSTEMS))}; choose one of {', '.join(SYSTEMS)}")
    codec, grid = SYSTEMS[name]
    if is_text_directory(model):
        perceiver = load_text_perceiver(model, device=device, dtype=dtype)
        written = perceiver.model.codec.name
        if written.startswith("isd_") != codec.startswith("isd_"):
            other = next(other for other in SYSTEMS if other != name)
            raise ValueError(f"{model} writes {written!r} answers: load it as {other!r}, or by its directory alone")
        return perceiver
    config = load_config(
        None,
        [
            "system=text4seg",
            f"text_mask.base={json.dumps(str(model))}",
            f"text_mask.codec={codec}",
            f"text_mask.grid={grid}",
        ],
    )
    return placed(build_text_mask(config), config, device=device, dtype="fp32" if dtype == "auto" else dtype)


def placed(system: TextMaskSystem, config: Config, *, device: str, dtype: str) -> TextPerceiver:
    """A perceiver on its device: "auto" takes a GPU when there is one."""
    return TextPerceiver(system, config=config, dtype=placement(system, device=device, dtype=dtype))
