"""Names and their embeddings on disk: one safetensors file each, written whole or not at all, checked when read."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

CACHE_VARIABLE = "MVPLM_CACHE"
_ENTRY, _CHECK = "content", "sha256"


@dataclass(frozen=True)
class NameFile:
    """What such a file holds: tensors by name, and JSON-ready facts about them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def cache_folder() -> Path:
    """The folder that the environment variable MVPLM_CACHE names, else ``~/.cache/mvplm``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "mvplm")


def tensor_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 (hex) over names, types, shapes and bytes of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
    return found.hexdigest()


def write_names(path: str | Path, tensors: Mapping[str, Tensor], *, facts: Mapping[str, Any]) -> Path:
    """Write a file beside its place and rename it, so that nobody ever reads half of one.

    Args:
        path: folders are made when missing.
        tensors: stored on the CPU. facts: JSON-ready.
    """
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = {_ENTRY: json.dumps(dict(facts), ensure_ascii=False), _CHECK: tensor_hash(kept)}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(kept, temporary, metadata=metadata)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def read_names(path: str | Path) -> NameFile:
    """Read a file that :func:`write_names` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file of names: {path}")
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = json.loads(metadata[_ENTRY])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no file of names, or damaged: {error}") from error
    if tensor_hash(tensors) != metadata.get(_CHECK):
        raise ValueError(f"{path} is damaged: its numbers do not match their checksum")
    return NameFile(tensors, facts)
