"""The bar that appears only after a while."""

from contextlib import contextmanager

import pytest

from mvplm.cli import progress


@pytest.mark.parametrize(("wait", "seen"), [(3600.0, []), (-1.0, [("all of it", 3), 1, 2, 3])])
def test_a_bar_appears_after_a_while_and_counts(wait: float, seen: list, monkeypatch: pytest.MonkeyPatch):
    told: list = []

    @contextmanager
    def bar(total, description):
        told.append((description, total))
        yield told.append

    monkeypatch.setattr("mvplm.measuring.sets.progress_bar", bar)
    monkeypatch.setattr(progress, "WAIT", wait)
    with progress.late_bar(3, "all of it") as advance:
        for done in (1, 2, 3):
            advance(done)
    assert told == seen
