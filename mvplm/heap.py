"""Memory that was freed, given back to the system."""

import ctypes
import functools
from collections.abc import Callable

EVERY = 20
"""Records after which a loop over a whole data set gives back what it freed."""


def trim_heap() -> bool:
    """Give freed memory back to the system; whether any was given back.

    The C library keeps freed memory for later. A loop that keeps a few small arrays of every picture between large
    ones that it frees leaves a heap of holes, which grows ten times faster than what is held. Where the C library
    cannot be asked (glibc's ``malloc_trim``), nothing happens.
    """
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library; none to open; Windows wants a name
        return None
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return trim
