"""Loss scaling for fp16, whose small gradients would vanish."""

import torch
from torch import Tensor

_START, _LARGEST = 2.0**16, 2.0**24
_PATIENCE = 2000


class LossScale:
    """A factor on the loss that halves when a gradient overflows and doubles after 2000 good steps in a row.

    It lives on the device, so that neither reading nor updating it waits for anything.

    Args:
        device: where the factor lives.
        enabled: False keeps it at 1.
    """

    def __init__(self, device: torch.device, *, enabled: bool) -> None:
        self.enabled = enabled
        self.value = torch.full((), _START if enabled else 1.0, device=device)
        self._good = torch.zeros((), device=device)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call ``backward`` on."""
        return loss * self.value if self.enabled else loss

    @torch.no_grad()
    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide gradients by the factor, in place."""
        if self.enabled and gradients:
            torch._foreach_mul_(gradients, 1 / self.value)

    def update(self, bad: Tensor) -> None:
        """Adapt the factor after a step; ``bad`` is a scalar bool: the step was skipped."""
        if not self.enabled:
            return
        self._good = torch.where(bad, 0.0, self._good + 1)
        grown = torch.where(self._good >= _PATIENCE, self.value * 2, self.value).clamp(max=_LARGEST)
        self.value = torch.where(bad, self.value / 2, grown)
        self._good = torch.where(self._good >= _PATIENCE, 0.0, self._good)

    def state(self) -> dict[str, float]:
        """JSON-ready state."""
        return {"value": float(self.value), "good": float(self._good)}

    def restore(self, state: dict[str, float]) -> None:
        """Put back what ``state`` returned."""
        self.value.fill_(state["value"] if self.enabled else 1.0)
        self._good.fill_(state["good"])
