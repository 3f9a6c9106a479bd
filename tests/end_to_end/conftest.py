"""The tiny perceiver that read-only tests share."""

import pytest
from oracles.tiny import tiny_perceiver

from mvplm.perceiver import Perceiver


@pytest.fixture(scope="session")
def perceiver() -> Perceiver:
    return tiny_perceiver()
