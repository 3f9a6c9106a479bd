"""Small layers several networks share: a multilayer perceptron, self-attention and a group norm.

Source: DETR (perceptron heads); the attention of "Attention is all you need".
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Module):
    """Linear layers with ReLU between them, named ``layers.0``, ``layers.1``, ...

    Args:
        widths: input, hidden and output width.
        layers: number of linear layers.

    Raises:
        ValueError: unless three widths and at least one layer are given.
    """

    def __init__(self, *widths: int, layers: int = 2) -> None:
        super().__init__()
        if len(widths) != 3 or layers < 1:
            raise ValueError(f"expected input, hidden and output width and layers >= 1, got {widths} and {layers}")
        first, hidden, last = widths
        sizes = [first, *[hidden] * (layers - 1), last]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """(..., input width) to (..., output width)."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class GroupNorm(nn.GroupNorm):
    """Group norm of maps (B, C, h, w) whose result is contiguous.

    The backward pass on CPU takes some twenty times longer where the channels lie side by side.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalised maps (B, C, h, w)."""
        return super().forward(x.contiguous())


class SelfAttention(nn.Module):
    """Multi-head self-attention with positions added to queries and keys only.

    Parameters carry the names of ``torch.nn.MultiheadAttention``.

    Args:
        width: C.
        heads: attention heads; must divide C.

    Raises:
        ValueError: when ``heads`` does not divide ``width``.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible by {heads} heads")
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, positions: Tensor, *, allowed: Tensor | None = None) -> Tensor:
        """Attended states (B, Q, C).

        Args:
            x: (B, Q, C) states, also the values.
            positions: (B, Q, C), added to queries and keys.
            allowed: (Q, Q) bool, True where the row's query may look at the column's; None: everywhere.
        """
        batch, count, width = x.shape
        split = 2 * width
        placed = F.linear(x + positions, self.in_proj_weight[:split], self.in_proj_bias[:split])
        query, key = placed.view(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        value = F.linear(x, self.in_proj_weight[split:], self.in_proj_bias[split:])
        value = value.view(batch, count, self.heads, -1).transpose(1, 2)
        mixed = _attend(query, key, value=value, allowed=allowed)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, count, width))


def _attend(query: Tensor, key: Tensor, *, value: Tensor, allowed: Tensor | None) -> Tensor:
    if query.device.type == "cpu":
        # The backward pass of the CPU kernel is several times slower in bfloat16 than in float32.
        with torch.autocast("cpu", enabled=False):
            query, key, value = query.float(), key.float(), value.float()
            return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
