"""Pieces of work side by side on as many threads as torch uses."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait

import torch


def run_pieces(pieces: Iterable[Callable[[], object]]) -> None:
    """Call every piece and wait for all. They should hold no lock of the interpreter; errors are passed on.

    The calling thread takes part, so that nothing waits for a helper that is late.
    """
    pieces = list(pieces)
    helpers = min(torch.get_num_threads(), len(pieces)) - 1
    shared = iter(pieces)

    def work() -> None:
        for piece in shared:
            piece()

    futures = [_pool(helpers, os.getpid()).submit(work) for _ in range(helpers)]
    try:
        work()
    finally:
        wait(futures)
    for future in futures:
        future.result()


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay; per process, because a fork does not inherit them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mvplm-kernel")
