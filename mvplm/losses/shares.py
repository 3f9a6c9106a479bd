"""What losses are divided by: counts over all processes, so that an object weighs the same in each of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvplm.losses.pairs import NamedSet, PairTable
from mvplm.structures.outputs import PerceptionOutput
from mvplm.structures.processes import mean_over_processes, process_count


@dataclass(frozen=True)
class Shares:
    """Divisors of one micro-batch, float32, each the mean over all processes.

    Attributes:
        targets: scalar n; the targets of all processes together count at least 1.
        answers: (S,) per prediction set: weights of the rows of a word loss, or elements of a sentence loss.
        noised: scalar, filled denoising slots of one layer; 0 without denoising.
    """

    targets: Tensor
    answers: Tensor
    noised: Tensor


def share_out(
    output: PerceptionOutput,
    sets: Sequence[NamedSet],
    *,
    classes: Sequence[Tensor],
    targets: int,
    noised: PairTable | None,
    no_object_weight: float,
) -> Shares:
    """Count and average in one exchange between the processes.

    Args:
        output: of the model.
        sets: S prediction sets.
        classes: per set (R,) int64 wanted name of every row; the number of names means no object.
        targets: of this process.
        noised: denoising pairs; None without denoising, which may differ between processes.
        no_object_weight: weight of rows without an object in the word loss.
    """
    names = output.name_mask.shape[1]
    device = output.logits.device
    filled = torch.zeros((), device=device)
    if noised is not None and output.denoising is not None:
        # Copies of an object in several groups share its weight.
        filled = noised.weight.sum() / (len(output.denoising.logits) * output.denoising.groups)
    rows = [float(len(wanted)) for wanted in classes]
    if output.family == "sentence":
        answers = torch.tensor(rows, device=device)
    else:
        found = torch.stack([(wanted < names).sum() for wanted in classes]).float()
        answers = found + no_object_weight * (torch.tensor(rows, device=device) - found)
    local = torch.cat([torch.tensor([float(targets)], device=device), filled[None], answers])
    mean = mean_over_processes(local)
    return Shares(targets=mean[0].clamp(min=1.0 / process_count()), noised=mean[1], answers=mean[2:])
