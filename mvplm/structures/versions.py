"""Which software made a result: versions for checkpoints, metrics files and provenance."""

import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

_LIBRARIES = (
    "mvplm",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "accelerate",
    "safetensors",
    "numpy",
    "scipy",
    "pycocotools",
)


def library_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a result; "missing" where one is not installed.

    ``commit`` is there where the package lies in a git work tree; it ends in "+" when files of it were changed.
    """
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    versions["torch"] = torch.__version__  # with its build, e.g. +cu130
    if commit := _commit():
        versions["commit"] = commit
    return versions


@cache
def _commit() -> str | None:
    """Commit of the package's work tree; None where it is in none, or lies in one without being part of it."""
    folder = Path(__file__).resolve().parents[1]
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, changed = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--", ".")
    return None if commit is None else f"{commit}{'+' if changed else ''}"


def _git(folder: Path, *order: str) -> str | None:
    """What git says; None when there is no git, or it ends with an error."""
    program = shutil.which("git")
    if program is None:
        return None
    done = subprocess.run([program, "-C", str(folder), *order], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
