"""The one place where losses are weighted and summed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mvplm.structures.choices import check_choice


@dataclass(frozen=True)
class LossWeights:
    """Weight of each loss by the first part of its name; every prediction set weighs the same.

    Source: MVP-LM, section 3.2.
    """

    word: float = 2.0
    sentence: float = 2.0
    mask_bce: float = 5.0
    mask_dice: float = 5.0
    box_l1: float = 5.0
    box_giou: float = 2.0
    lm: float = 1.0

    def weight_of(self, name: str) -> float:
        """Weight of a loss such as ``mask_dice.dn.layer2``.

        Raises:
            ValueError: no weight of that name; the message names the near matches and the choices.
        """
        base = check_choice("loss", name.split(".", 1)[0], choices=[field.name for field in fields(self)])
        return float(getattr(self, base))

    def total(self, losses: Mapping[str, Tensor], *, zero: Tensor | None = None) -> Tensor:
        """Weighted sum, a scalar.

        Args:
            losses: scalars by name; those of weight 0 are left out, whatever their value.
            zero: exact-zero scalar that touches otherwise unused parameters; added as it is.

        Raises:
            ValueError: an unknown name, or nothing to sum.
        """
        weighted = [(self.weight_of(name), value) for name, value in losses.items()]
        counted = [weight * value for weight, value in weighted if weight != 0]
        if zero is not None:
            counted.append(zero)
        if not counted:
            raise ValueError("there is no loss to sum")
        return torch.stack([value.float().reshape(()) for value in counted]).sum()
