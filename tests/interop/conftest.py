"""The stand-in for detectron2, and a tiny perceiver."""

import types

import pytest
from oracles.detectron2_double import install
from oracles.tiny import tiny_perceiver

from mvplm.perceiver import Perceiver


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    return install(monkeypatch)


@pytest.fixture(scope="session")
def perceiver() -> Perceiver:
    return tiny_perceiver()
