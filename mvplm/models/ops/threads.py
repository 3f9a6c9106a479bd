"""Pieces of work side by side on as many threads as torch uses."""

import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch


def run_pieces(pieces: Iterable[Callable[[], object]]) -> None:
    """Call every piece and wait for all. They should hold no lock of the interpreter; errors are passed on."""
    pieces = list(pieces)
    threads = min(torch.get_num_threads(), len(pieces))
    if threads <= 1:
        for piece in pieces:
            piece()
        return
    for future in [_pool(threads, os.getpid()).submit(piece) for piece in pieces]:
        future.result()


@functools.cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads that stay; per process, because a fork does not inherit them."""
    return ThreadPoolExecutor(threads, thread_name_prefix="mvplm-kernel")
