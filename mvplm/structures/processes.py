"""Numbers that several training processes share; alone, a process is the whole run."""

import torch
from torch import Tensor


def process_count() -> int:
    """How many processes train together; 1 alone."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 1
    return torch.distributed.get_world_size()


def mean_over_processes(values: Tensor) -> Tensor:
    """``values`` averaged over all processes, on the same device, without gradient; alone they come back as they are.

    Processes average their gradients. A loss that is divided by such a mean therefore has the gradient of the whole
    batch: the number of processes cancels out.
    """
    processes = process_count()
    if processes == 1:
        return values
    total = values.detach().clone()
    torch.distributed.all_reduce(total)
    return total / processes
