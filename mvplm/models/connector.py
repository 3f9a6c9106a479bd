"""Connector: the coarsest feature map becomes visual tokens of the language model.

Source: MVP-LM, section 3.2 (one convolutional residual block and a linear layer).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.structures.choices import check_choice

NORMS = ("batch", "group")
ENCODER_STRIDE = 32


def _norm(kind: str, width: int) -> nn.Module:
    check_choice("norm", kind, choices=NORMS)
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(32, width)


class Connector(nn.Module):
    """Residual block over the stride-32 map, then a linear layer to the language model's width.

    Args:
        in_channels: C of the stride-32 map. out_width: D of the language model.
        width: channels of the residual block (2048 in the paper).
        stride: pixels per token side: 64 (the block halves the map, as in the paper) or 32 (it keeps it).
        norm: "batch" or "group" (32 groups).
        conv2_repeats: how often the second convolution is applied with the same weights (1).

    Raises:
        ValueError: for another stride or norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_width: int,
        *,
        width: int = 2048,
        stride: int = 64,
        norm: str = "batch",
        conv2_repeats: int = 1,
    ) -> None:
        super().__init__()
        if stride not in (ENCODER_STRIDE, 2 * ENCODER_STRIDE):
            raise ValueError(f"connector stride must be {ENCODER_STRIDE} or {2 * ENCODER_STRIDE}, got {stride}")
        step = stride // ENCODER_STRIDE
        self.stride = stride
        self.conv2_repeats = conv2_repeats
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=step, padding=1, bias=False)
        self.bn1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = _norm(norm, width)
        self.skip = nn.Sequential(nn.Conv2d(in_channels, width, 1, stride=step, bias=False), _norm(norm, width))
        self.proj = nn.Linear(width, out_width)
        for conv in (self.conv1, self.conv2, self.skip[0]):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")

    def num_tokens(self, height: int, width: int) -> int:
        """V, the visual tokens of a padded input of (height, width) pixels."""
        return -(-height // self.stride) * -(-width // self.stride)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, C, H/32, W/32) to visual tokens (B, V, D), row by row."""
        x = F.relu(self.bn1(self.conv1(feature)))
        for _ in range(self.conv2_repeats):
            x = self.conv2(x)
        x = F.relu(self.bn2(x) + self.skip(feature))
        return self.proj(x.flatten(2).transpose(1, 2))
