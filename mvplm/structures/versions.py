"""Which software made a result: versions for checkpoints, metrics files and provenance."""

import platform
from importlib import metadata

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
    """Versions of Python and of the libraries that can change a result; "missing" where one is not installed."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
    versions["torch"] = torch.__version__  # with its build, e.g. +cu130
    return versions
