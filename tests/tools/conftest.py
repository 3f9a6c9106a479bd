"""The frame of the benchmarks, which is a script beside the package and no module of it."""

import importlib.util
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    """``tools/benchmark.py``; its ``load`` reads other files there."""
    spec = importlib.util.spec_from_file_location("benchmark", TOOLS / "benchmark.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
