"""Freed memory given back to the system."""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from mvplm import heap
from mvplm.heap import trim_heap


@pytest.fixture(autouse=True)
def _asked_anew():
    heap._malloc_trim.cache_clear()
    yield
    heap._malloc_trim.cache_clear()


def test_holes_between_kept_arrays_are_given_back() -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("the resident size is read from /proc")
    if heap._malloc_trim() is None:
        pytest.skip("this C library has no malloc_trim")
    pairs = [(np.ones(1000), np.ones(12_000)) for _ in range(1000)]  # 8 kB to keep beside 96 kB to free
    kept = [small for small, _ in pairs]
    del pairs
    before = _resident()
    assert trim_heap()
    assert before - _resident() > 48e6
    assert all(small.sum() == 1000 for small in kept)


def test_without_the_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """A C library without ``malloc_trim``."""

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Other())
    assert trim_heap() is False


def _resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
