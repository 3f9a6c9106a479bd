"""Models on disk: one directory with weights, configuration, tokenizer, vocabulary and provenance."""

import json
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mvplm.build import build_model, build_postprocess
from mvplm.config import load_config, to_yaml
from mvplm.config.base import near
from mvplm.engine import adopt_weights, chosen_device, native_bf16, parameters_on_meta
from mvplm.fingerprint import check_fingerprint, fingerprint
from mvplm.models.precision import storage_dtype
from mvplm.perceiver import Perceiver
from mvplm.prompts import PromptTokenizer
from mvplm.structures import Vocabulary

CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE = "config.yaml", "model.safetensors", "vocabulary.json"
TOKENIZER_DIR, PROVENANCE_FILE = "tokenizer", "provenance.json"
PARTIAL_FILE = "partial.yaml"
# Small models gain nothing from half precision: converting costs what computing saves.
_LARGE = 100 * 2**20
_ASSETS = Path(__file__).parent / "assets"
# What marks a directory as a model of each of the systems.
_MARKS = (WEIGHTS_FILE, "text_mask.json", "box_mask.json")


def shipped_models() -> list[str]:
    """Names of the models, of whatever system, whose weights are part of the package."""
    return sorted(path.parent.name for mark in _MARKS for path in _ASSETS.glob(f"*/{mark}"))


def shipped_folder(name: str | Path) -> Path | None:
    """The folder of a shipped model; None for any other name, and where a directory of that name is at hand."""
    return None if Path(name).is_dir() or str(name) not in shipped_models() else _ASSETS / str(name)


def starting_weights(name: str) -> Path:
    """The weights file of a directory or else of a shipped model, for training to start from."""
    place = Path(name) / WEIGHTS_FILE
    shipped = _ASSETS / name / WEIGHTS_FILE
    return shipped if shipped.is_file() and not place.is_file() else place


def save_perceiver(
    perceiver: Perceiver, directory: str | Path, *, half: bool = False, provenance: dict[str, Any] | None = None
) -> Path:
    """Write a model directory; see :meth:`Perceiver.save`."""
    from safetensors.torch import save_file

    folder = Path(directory)
    provenance = perceiver.provenance if provenance is None else provenance
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu() for name, value in perceiver.model.state_dict().items()}
    if half:
        state = {
            name: value.to(torch.bfloat16) if value.is_floating_point() else value for name, value in state.items()
        }
    parts = {name.split(".", 1)[0] for name in state}
    save_file(
        {name: value.contiguous() for name, value in state.items()},
        str(folder / WEIGHTS_FILE),
        metadata={"format": "pt", **fingerprint(perceiver.config, perceiver.tokenizer, parts=parts)},
    )
    (folder / CONFIG_FILE).write_text(to_yaml(perceiver.config), encoding="utf-8")
    perceiver.tokenizer.save_pretrained(folder / TOKENIZER_DIR)
    if perceiver.vocabulary is not None:
        vocabulary = {key: value for key, value in asdict(perceiver.vocabulary).items() if not key.startswith("_")}
        (folder / VOCABULARY_FILE).write_text(json.dumps(vocabulary, indent=1), encoding="utf-8")
    if provenance is not None:
        (folder / PROVENANCE_FILE).write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
    return folder


def load_perceiver(
    name: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    local_files_only: bool = True,
    revision: str | None = None,
) -> Perceiver:
    """A model by shipped name, directory or Hub id; see :meth:`Perceiver.from_pretrained`."""
    folder = find_model(name, local_files_only=local_files_only, revision=revision)
    config = load_config(folder / CONFIG_FILE)
    tokenizer = PromptTokenizer.from_pretrained(folder / TOKENIZER_DIR)
    check_fingerprint(folder / WEIGHTS_FILE, config, tokenizer=tokenizer)
    place = chosen_device(device)
    # Adapters keep a copy of the rows they train, which no file has: with them everything needs its memory at once.
    with nullcontext() if config.model.llm.lora.rank else parameters_on_meta():
        model = build_model(config, tokenizer)
    precision = _dtype(dtype, place, size=(folder / WEIGHTS_FILE).stat().st_size)
    adopt_weights(model, folder / WEIGHTS_FILE, dtype_of=partial(storage_dtype, half=precision == "bf16"))
    return Perceiver(
        model.to(place),
        tokenizer,
        config=config,
        settings=build_postprocess(config),
        vocabulary=load_vocabulary(folder),
        dtype=precision,
        provenance=load_provenance(folder),
    )


def load_vocabulary(folder: Path) -> Vocabulary | None:
    """The vocabulary stored beside a model, or None."""
    path = folder / VOCABULARY_FILE
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Vocabulary(tuple(stored["names"]), tuple(stored["isthing"]), tuple(stored["dataset_ids"]))


def load_provenance(folder: Path) -> dict[str, Any] | None:
    """What is stored beside a model about where it comes from, or None."""
    path = folder / PROVENANCE_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def find_model(name: str | Path, *, local_files_only: bool = True, revision: str | None = None) -> Path:
    """The folder of a model by shipped name, directory or Hub id.

    Raises:
        ValueError: nothing of that name; the message lists what is shipped.
    """
    if (Path(name) / PARTIAL_FILE).is_file():
        raise ValueError(
            f"{name} holds parts of a network, not a whole one: train from it, with _BASE_: {name}/{PARTIAL_FILE} in "
            "the configuration of a run"
        )
    for folder in (Path(name), _ASSETS / str(name)):
        if (folder / CONFIG_FILE).is_file():
            return _complete(folder)
    on_hub = _on_hub(str(name), local_files_only, revision=revision) if "/" in str(name) else None
    if on_hub is not None:
        return _complete(on_hub)
    shipped = shipped_models()
    raise ValueError(
        f"no model {str(name)!r}{near(name, shipped)}: it is neither shipped ({', '.join(shipped) or 'none'}) nor a "
        f"directory with {CONFIG_FILE} and {WEIGHTS_FILE}, nor in the Hub's cache on this machine; pass "
        "local_files_only=False to look on the Hub"
    )


def _on_hub(name: str, local_files_only: bool, *, revision: str | None) -> Path | None:
    """The folder of a Hub id, fetched when that is allowed; None when nothing of that name is on this machine."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    wanted = [CONFIG_FILE, WEIGHTS_FILE, VOCABULARY_FILE, PROVENANCE_FILE, f"{TOKENIZER_DIR}/*"]
    try:
        return Path(
            snapshot_download(name, revision=revision, local_files_only=local_files_only, allow_patterns=wanted)
        )
    except (HFValidationError, LocalEntryNotFoundError) as error:
        if not local_files_only:
            raise ValueError(f"no model {name!r} can be had from the Hub: {error}") from error
        return None


def _complete(folder: Path) -> Path:
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"{folder} has no {CONFIG_FILE}: it is not a model of mvplm")
    if not (folder / WEIGHTS_FILE).is_file():
        raise ValueError(f"{folder} has a {CONFIG_FILE} but no {WEIGHTS_FILE}")
    return folder


def _dtype(dtype: str, device: torch.device, *, size: int) -> str:
    choices = ("auto", "fp32", "bf16")
    if dtype not in choices:
        raise ValueError(f"dtype must be one of {', '.join(choices)}, got {dtype!r}{near(dtype, choices)}")
    if dtype != "auto":
        return dtype
    return "bf16" if size >= _LARGE and native_bf16(device) else "fp32"
