"""Checkpoints: one directory per step, safetensors and JSON only (nothing is ever pickled), written atomically."""

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

STATE_FILE = "trainer_state.json"
MODEL_FILE = "model.safetensors"
EMA_FILE = "ema.safetensors"
_STEP_NAME = re.compile(r"step_(\d{6,})")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on disk.

    Attributes:
        path: its directory.
        step: completed optimiser steps.
        state: content of ``trainer_state.json``.
    """

    path: Path
    step: int
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor] | None:
        """Tensors of ``<name>.safetensors`` on the CPU, or None when the checkpoint has no such file."""
        file = self.path / f"{name}.safetensors"
        return load_file(file) if file.exists() else None


class CheckpointStore:
    """The checkpoints of one run: ``root/step_000123/``. A directory that a crash left half-written is never seen."""

    def __init__(self, root: str | Path, *, keep: int = 3) -> None:
        """``keep`` newest checkpoints survive a save; 0 keeps all."""
        if keep < 0:
            raise ValueError(f"keep must not be negative, got {keep}")
        self.root = Path(root)
        self.keep = keep

    def save(
        self,
        step: int,
        *,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        extras: Callable[[Path], None] | None = None,
    ) -> Path:
        """Write a checkpoint in a temporary directory, flush it to the disk, then rename it into place.

        Args:
            step: completed optimiser steps.
            tensors: file stem -> tensors of that file.
            state: JSON-ready values for ``trainer_state.json``.
            extras: called with the temporary directory, to add files (configuration, tokenizer, ...).

        Returns:
            The checkpoint's directory.

        Raises:
            OSError: it cannot be written; what was written is removed again, and older checkpoints stay.
        """
        final = self.root / f"step_{step:06d}"
        temporary = self.root / f".writing_{final.name}_{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._write(step, temporary, tensors=tensors, state=state, extras=extras)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            latest = self.latest()
            kept = "no checkpoint was written before" if latest is None else f"the newest complete one is {latest}"
            reason = getattr(error, "strerror", None) or error
            raise OSError(
                getattr(error, "errno", None), f"checkpoint {final} cannot be written ({reason}); {kept}"
            ) from error
        if final.exists():
            final.rename(self.root / f".replaced_{final.name}_{os.getpid()}")
        temporary.rename(final)
        _flush(self.root)
        self._remove_leftovers()
        self._prune()
        return final

    def _write(
        self,
        step: int,
        temporary: Path,
        *,
        tensors: Mapping[str, Mapping[str, Tensor]],
        state: Mapping[str, Any],
        extras: Callable[[Path], None] | None,
    ) -> None:
        """All files of a checkpoint, flushed to the disk."""
        temporary.mkdir()
        for stem, values in tensors.items():
            save_file({k: v.detach().cpu().contiguous() for k, v in values.items()}, temporary / f"{stem}.safetensors")
        if extras is not None:
            extras(temporary)
        files = {str(p.relative_to(temporary)): p.stat().st_size for p in sorted(temporary.rglob("*")) if p.is_file()}
        content = json.dumps({"step": step, "files": files, **state}, indent=1)
        (temporary / STATE_FILE).write_text(content, encoding="utf-8")
        for path in [*temporary.rglob("*"), temporary]:
            _flush(path)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending, found by looking at the disk."""
        return [step for step, path in self._directories() if _is_complete(path)]

    def latest(self) -> Path | None:
        """Directory of the newest complete checkpoint, or None."""
        for _, path in reversed(self._directories()):
            if _is_complete(path):
                return path
        return None

    def clear(self) -> None:
        """Remove every checkpoint of the run."""
        for _, path in self._directories():
            shutil.rmtree(path)

    def _directories(self) -> list[tuple[int, Path]]:
        if not self.root.is_dir():
            return []
        found = [(_STEP_NAME.fullmatch(path.name), path) for path in self.root.iterdir() if path.is_dir()]
        return sorted((int(match[1]), path) for match, path in found if match)

    def _remove_leftovers(self) -> None:
        for pattern in (".writing_*", ".replaced_*"):
            for path in self.root.glob(pattern):
                shutil.rmtree(path, ignore_errors=True)

    def _prune(self) -> None:
        if self.keep:
            for _, path in self._directories()[: -self.keep]:
                shutil.rmtree(path)


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint directory, or the newest complete one inside a run or ``checkpoints`` directory.

    Raises:
        ValueError: there is no complete checkpoint.
    """
    path = Path(path)
    for candidate in (path, CheckpointStore(path).latest(), CheckpointStore(path / "checkpoints").latest()):
        if candidate is not None and _is_complete(candidate):
            state = json.loads((candidate / STATE_FILE).read_text(encoding="utf-8"))
            return Checkpoint(candidate, int(state["step"]), state)
    raise ValueError(f"no complete checkpoint at {path}")


def is_run(path: str | Path) -> bool:
    """Whether a directory is a run with checkpoints, or one of its checkpoints."""
    path = Path(path)
    return (path / "checkpoints").is_dir() or path.name.startswith("step_")


def _is_complete(path: Path) -> bool:
    try:
        state = json.loads((path / STATE_FILE).read_text(encoding="utf-8"))
        return all((path / name).stat().st_size == size for name, size in state["files"].items())
    except (OSError, ValueError, KeyError):
        return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
