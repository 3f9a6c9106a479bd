"""Small things the tests of conversions share."""

import torch
from torch import Tensor, nn


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """Largest error at most ``tolerance`` of the largest value."""
    assert found.shape == expected.shape
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def shapes(module: nn.Module, prefix: str = "") -> dict[str, torch.Size]:
    """Shapes by name of a module's tensors."""
    return {prefix + name: tensor.shape for name, tensor in module.state_dict().items()}


def fill(module: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    """Load the tensors under a prefix into a module, strictly."""
    module.load_state_dict({n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)})


def randomise(module: nn.Module, scale: float = 0.3) -> nn.Module:
    """Random values for every parameter, so that nothing is hidden by zeros and ones; in eval mode."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale)
    return module.eval()
