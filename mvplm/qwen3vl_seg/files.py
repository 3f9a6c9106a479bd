"""Models that write boxes and decode their masks, on disk: configuration, processor, decoder, weights or adapters."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvplm.config import Config, load_config, to_yaml
from mvplm.config.base import near
from mvplm.models.qwen3vl_seg.capture import base_of
from mvplm.prompts.box_masks import MASK_TOKENS, TEMPLATE_VERSION
from mvplm.qwen3vl_seg.build import BoxMaskSystem, assemble_box_mask, build_box_mask
from mvplm.qwen3vl_seg.perceiver import BoxPerceiver
from mvplm.text4seg.build import read_base, read_processor
from mvplm.writing_perceiver import placement

CONFIG_FILE, FORMAT_FILE, DECODER_FILE, TRAINED_FILE = (
    "config.yaml",
    "box_mask.json",
    "decoder.safetensors",
    "trained.safetensors",
)
PROCESSOR_DIR, MODEL_DIR, ADAPTER_DIR = "processor", "model", "adapter"
SYSTEM = "qwen3vl-seg"


def describe_box_mask(system: BoxMaskSystem, config: Config) -> dict[str, Any]:
    """What masks of a model mean only together with, JSON-ready: stored beside it and compared when it is loaded."""
    base = base_of(system.model.base)
    vocabulary = system.tokenizer.get_vocab()
    return {
        "width": int(base.config.text_config.hidden_size),
        "levels": system.model.mask_decoder.levels,
        "prompt_order": config.box_mask.prompt_order,
        "template_version": TEMPLATE_VERSION,
        "tokens": {token: vocabulary[token] for token in MASK_TOKENS},
        "tokenizer_sha256": system.tokenizer.hash(),
        "base": config.box_mask.base,
    }


def save_box_perceiver(perceiver: BoxPerceiver, directory: str | Path) -> Path:
    """Write a model directory; see :meth:`BoxPerceiver.save`. With adapters the base stays where it is.

    Weights of the base that are trained beside adapters, those of the vision tower for example, are written, too. A
    directory that holds the whole model names no base.
    """
    from safetensors.torch import save_file

    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    system, base, config = perceiver.system, perceiver.model.base, perceiver.config
    adapted = hasattr(base, "peft_config")
    beside_base = adapted and config.box_mask.base is not None
    if not beside_base:
        config = replace(config, box_mask=replace(config.box_mask, base=None))
    (folder / CONFIG_FILE).write_text(to_yaml(config), encoding="utf-8")
    described = describe_box_mask(system, config)
    (folder / FORMAT_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    system.processor.save_pretrained(str(folder / PROCESSOR_DIR))
    save_file(_kept(perceiver.model.mask_decoder.state_dict()), str(folder / DECODER_FILE), metadata={"format": "pt"})
    if beside_base:
        base.save_pretrained(str(folder / ADAPTER_DIR), save_embedding_layers=False)
        if trained := trained_beside_adapters(base):
            save_file(_kept(trained), str(folder / TRAINED_FILE), metadata={"format": "pt"})
    else:
        whole = base.merge_and_unload() if adapted else base
        whole.save_pretrained(str(folder / MODEL_DIR))
    return folder


def trained_beside_adapters(base: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of an adapted model that are trained and belong to no adapter, by name."""
    return {
        name: parameter
        for name, parameter in base.named_parameters()
        if parameter.requires_grad and "lora_" not in name and "trainable_tokens" not in name
    }


def _kept(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def is_box_directory(name: str | Path) -> bool:
    """Whether a directory was written by :func:`save_box_perceiver`."""
    return (Path(name) / FORMAT_FILE).is_file()


def load_box_perceiver(folder: str | Path, *, device: str = "auto", dtype: str = "auto") -> BoxPerceiver:
    """A model from a directory of :func:`save_box_perceiver`.

    Raises:
        ValueError: it is none, its base is not there or has another width, or tokens, order or wording are not those
            it was saved with.
    """
    folder = Path(folder)
    if not is_box_directory(folder):
        raise ValueError(f"{folder} has no {FORMAT_FILE}: it is not a saved model that writes boxes")
    config = load_config(folder / CONFIG_FILE)
    stored = json.loads((folder / FORMAT_FILE).read_text(encoding="utf-8"))
    processor = read_processor(folder / PROCESSOR_DIR)
    if (folder / MODEL_DIR).is_dir():
        system = assemble_box_mask(read_base(folder / MODEL_DIR), processor, config=config, adapters=False)
        _check_width(system, stored, base=folder / MODEL_DIR)
    else:
        system = _with_adapters(folder, config, processor=processor, stored=stored)
    found = describe_box_mask(system, config)
    if wrong := [
        f"{key}: expected {stored.get(key)!r}, got {found[key]!r}" for key in found if stored.get(key) != found[key]
    ]:
        raise ValueError(f"{folder} is not what it was saved as: {'; '.join(wrong)[:500]}")
    _adopt(system.model.mask_decoder, folder / DECODER_FILE)
    return placed(system, config, device=device, dtype=dtype if dtype != "auto" else config.box_mask.dtype)


def _with_adapters(folder: Path, config: Config, *, processor: Any, stored: dict[str, Any]) -> BoxMaskSystem:
    """The base with the adapters of a directory."""
    from peft import PeftModel

    base = config.box_mask.base
    if base is None or not (folder / ADAPTER_DIR).is_dir():
        raise ValueError(f"{folder} has neither {MODEL_DIR} nor {ADAPTER_DIR} with box_mask.base in its configuration")
    # The base's own processor tells which tokens are new, so that rows are started as they were in training.
    plain = build_box_mask(config, adapters=False)
    _check_width(plain, stored, base=base)
    plain.model.base = PeftModel.from_pretrained(plain.model.base, str(folder / ADAPTER_DIR))
    if (folder / TRAINED_FILE).is_file():
        _adopt(plain.model.base, folder / TRAINED_FILE, part=True)
    return BoxMaskSystem(plain.model, processor, plain.tokenizer, plain.frame, plain.new_tokens)


def _check_width(system: BoxMaskSystem, stored: dict[str, Any], *, base: Any) -> None:
    width = int(base_of(system.model.base).config.text_config.hidden_size)
    if width != stored.get("width"):
        raise ValueError(
            f"the mask decoder was made for a base of width {stored.get('width')}, {base} has width {width}: "
            "set box_mask.base to the model that it was trained with"
        )


def _adopt(module: nn.Module, path: Path, *, part: bool = False) -> None:
    """Load the weights of a file; ``part``: it holds some of the module's only, and they stay trainable."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise ValueError(f"{path} is not there: the directory is not complete")
    state = load_file(str(path))
    try:
        found = module.load_state_dict(state, strict=not part)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model of its directory: {error}") from error
    if found.unexpected_keys:
        raise ValueError(f"{path} has weights that the model does not know: {', '.join(found.unexpected_keys[:3])}")
    if part:
        for name in state:
            module.get_parameter(name).requires_grad_(True)


def load_box_system(name: str, model: str | Path, *, device: str = "auto", dtype: str = "auto") -> BoxPerceiver:
    """Qwen3-VL-Seg around a model.

    Args:
        name: "qwen3vl-seg". model: a saved directory, or a Qwen3-VL with its processor, whose mask tokens and decoder
            mean nothing until they are trained.
        device, dtype: see :func:`mvplm.load`.

    Raises:
        ValueError: another name, or a model that is no Qwen3-VL.
    """
    if name != SYSTEM:
        raise ValueError(f"unknown system {name!r}{near(name, [SYSTEM])}; choose {SYSTEM}")
    if is_box_directory(model):
        return load_box_perceiver(model, device=device, dtype=dtype)
    config = load_config(None, ["system=qwen3vl_seg", f"box_mask.base={json.dumps(str(model))}"])
    return placed(build_box_mask(config), config, device=device, dtype="fp32" if dtype == "auto" else dtype)


def placed(system: BoxMaskSystem, config: Config, *, device: str, dtype: str) -> BoxPerceiver:
    """A perceiver on its device: "auto" takes a GPU when there is one."""
    return BoxPerceiver(system, config=config, dtype=placement(system, device=device, dtype=dtype))
