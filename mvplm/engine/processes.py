"""One training run in several processes: each joins the others before it asks for its share of the data."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import distributed

from mvplm.engine.environment import works_on_cpu
from mvplm.engine.parallel import launched_plan


def join_processes(device: str = "auto") -> None:
    """Meet the other processes of a launched run; alone, nothing happens. Calling it again does nothing.

    Args:
        device: "auto" (the fastest present) or "cpu", as in ``TrainerSettings``.

    Raises:
        ValueError: the run was launched in a way that is not supported.
    """
    from accelerate import PartialState

    launched_plan()
    if started_again() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        _join_afresh(device)
    PartialState(cpu=works_on_cpu(device))


def _join_afresh(device: str) -> None:
    """Meet after a restart under names of this attempt.

    The launcher's store outlives its workers: under the usual names a process may find the address of a dead one.
    """
    if distributed.is_initialized():
        return
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = distributed.TCPStore(address, port, is_master=False)
    distributed.init_process_group(
        "nccl" if device != "cpu" and torch.cuda.is_available() else "gloo",
        store=distributed.PrefixStore(f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}", store),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def leave_processes() -> None:
    """Wait until all processes have come to the end of their work, then close the connections; alone, nothing happens.

    It is the last thing a process does with the others. After an error it must not be called: a process that broke
    never comes, and the launcher ends those that are left.
    """
    from accelerate import PartialState

    if distributed.is_available() and distributed.is_initialized():
        state = PartialState()
        state.wait_for_everyone()
        state.destroy_process_group()


def rank_and_world() -> tuple[int, int]:
    """Number of this process and how many there are; (0, 1) when it runs alone."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def wait_for_processes() -> None:
    """Return when all processes have called it; alone, at once."""
    if rank_and_world()[1] > 1:
        distributed.barrier()


def add_over_processes(counts: Mapping[str, int]) -> dict[str, int]:
    """The sums of what all processes counted; each must call it."""
    _, world = rank_and_world()
    if world == 1:
        return dict(counts)
    parts: list[Any] = [None] * world
    distributed.all_gather_object(parts, dict(counts))
    return {name: sum(part[name] for part in parts) for name in counts}


def started_again() -> bool:
    """True in a process that an elastic launcher (``torchrun --max-restarts``) has started after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") or 0) > 0
