"""A progress bar for what may be quick: it appears only after a while."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

WAIT = 2.0
"""Seconds without a bar."""


@contextmanager
def late_bar(total: int, description: str) -> Iterator[Callable[[int], None]]:
    """A bar on standard error from ``WAIT`` seconds on; yields a function that takes the number of steps done."""
    from mvplm.measuring.sets import progress_bar

    started = time.monotonic()
    with ExitStack() as shown:
        bar: list[Callable[[int], None]] = []

        def advance(done: int) -> None:
            if not bar and time.monotonic() - started > WAIT:
                bar.append(shown.enter_context(progress_bar(total, description)))
            for update in bar:
                update(done)

        yield advance
