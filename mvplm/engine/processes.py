"""One training run in several processes: each joins the others before it asks for its share of the data."""

import os

from torch import distributed


def join_processes(device: str = "auto") -> None:
    """Meet the other processes of a launched run; alone, nothing happens. Calling it again does nothing.

    Args:
        device: "auto" (the fastest present) or "cpu", as in ``TrainerSettings``.
    """
    from accelerate import PartialState

    PartialState(cpu=device == "cpu")


def rank_and_world() -> tuple[int, int]:
    """Number of this process and how many there are; (0, 1) when it runs alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def started_again() -> bool:
    """True in a process that an elastic launcher (``torchrun --max-restarts``) has started after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0) > 0
