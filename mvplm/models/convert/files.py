"""Checkpoints on disk as plain tensors by name; nothing in a file is ever run.

Read: safetensors; ``.pth``, ``.pt``, ``.bin`` and ``.ckpt`` of torch (weights only); ``.pkl`` of numpy arrays; a
directory of transformers or of the Hub with one of these, in one file or in shards.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mvplm.structures.pickles import read_array_pickle

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
_TORCH = (".pth", ".pt", ".bin", ".ckpt")
_WRAPPERS = ("model", "state_dict", "model_state", "module")


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of a checkpoint.

    Attributes:
        tensors: by the names in the file, on the CPU.
        files: what was read.
        config: content of a ``config.json`` beside them; empty without one.
    """

    tensors: dict[str, Tensor]
    files: tuple[Path, ...]
    config: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The tensors of a file or of a directory.

    Raises:
        FileNotFoundError: there is no such file, or no weights in the directory; the message says what was looked for.
        ValueError: a file is broken, or holds something else than tensors; the message names it.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no file or directory {place}")
    files = weight_files(place)
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_file(file)
    return Checkpoint(tensors, files, read_config(place if place.is_dir() else place.parent))


def read_config(folder: Path) -> dict[str, Any]:
    """Content of ``config.json`` in a folder, or nothing. Raises ValueError when it is no JSON object."""
    file = folder / CONFIG
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no readable JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a JSON object, got {type(content).__name__}")
    return content


def weight_files(place: Path) -> tuple[Path, ...]:
    """The weight files of a directory: one, or the shards its index lists; a file is itself.

    Raises:
        FileNotFoundError: nothing of the kind, or a shard is missing.
    """
    if place.is_file():
        return (place,)
    for name in WEIGHTS:
        if (place / name).is_file():
            return (place / name,)
        index = place / (name + _INDEX)
        if index.is_file():
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            missing = [shard for shard in shards if not (place / shard).is_file()]
            if missing:
                raise FileNotFoundError(
                    f"{index} lists {', '.join(missing)}, which {place} lacks; copy the shards there"
                )
            return tuple(place / shard for shard in shards)
    looked = ", ".join([*WEIGHTS, *(name + _INDEX for name in WEIGHTS)])
    raise FileNotFoundError(f"{place} holds no weights: looked for {looked}")


def read_file(file: Path) -> dict[str, Tensor]:
    """Tensors of one file, by its suffix.

    Raises:
        ValueError: unknown suffix, broken, or it holds no tensors by name.
    """
    suffix = file.suffix.lower()
    if suffix == ".safetensors":
        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{file} is no readable safetensors file ({error})") from error
    if suffix == ".pkl":
        return _tensors_of(read_array_pickle(file), file)
    if suffix not in _TORCH:
        raise ValueError(
            f"{file}: expected .safetensors, .pkl or one of {', '.join(_TORCH)}, got {suffix or 'no suffix'}"
        )
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make an unpickler fail in any way whatever
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(f"{file} cannot be read as tensors alone ({told[0]})") from error
    return _tensors_of(content, file)


def _tensors_of(content: Any, file: Path) -> dict[str, Tensor]:
    """The tensors of a state dict, which may be wrapped; arrays become tensors, other values are passed over."""
    import numpy as np

    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ValueError(f"{file} holds a {type(content).__name__}, expected tensors by name")
    tensors = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            tensors[str(name)] = value.detach()
        elif isinstance(value, np.ndarray | np.generic) and value.dtype != object:
            tensors[str(name)] = torch.from_numpy(np.array(value))
    if not tensors:
        raise ValueError(f"{file} holds no tensors by name; its keys are {', '.join(map(str, list(content)[:8]))}")
    return tensors
