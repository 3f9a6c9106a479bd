"""Multi-scale spatial feature injection: levels of the vision tower, language states and positions in one memory."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.models.layers import GroupNorm
from mvplm.models.qwen3vl_seg.settings import DecoderSettings

_INJECTOR_START = 1e-3
_POSITION_STD = 0.02


class SpatialInjector(nn.Module):
    """One level projected to width d, plus a little of its local structure: ``x + s * GELU(DWConv(GN(x)))``.

    Args:
        channels: D of the level.
        width: d.
        groups: of the norm.
    """

    def __init__(self, channels: int, width: int, *, groups: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(channels, width, 1)
        self.norm = GroupNorm(groups, width)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.scale = nn.Parameter(torch.tensor(_INJECTOR_START))

    def forward(self, level: Tensor) -> Tensor:
        """(B, D, h, w) to (B, d, h, w)."""
        x = self.projection(level)
        return x + self.scale * F.gelu(self.local(self.norm(x)))


class SpatialMemory(nn.Module):
    """The memory that queries look at: fused levels + projected language states + positions.

    Args:
        channels: D, text width of the base model, also that of its merged levels.
        levels: K.
        settings: width, groups and position grid.
    """

    def __init__(self, channels: int, levels: int, *, settings: DecoderSettings) -> None:
        super().__init__()
        width, groups, side = settings.width, settings.groups, settings.position_grid
        used = levels if settings.injection else 0
        self.injectors = nn.ModuleList(SpatialInjector(channels, width, groups=groups) for _ in range(used))
        self.fuse = _fusion(levels, width, groups=groups) if settings.injection else None
        self.language = nn.Conv2d(channels, width, 1)
        self.positions = nn.Parameter(torch.empty(1, width, side, side))
        nn.init.normal_(self.positions, std=_POSITION_STD)

    def forward(self, levels: list[Tensor], image_states: Tensor) -> Tensor:
        """Memory maps (B, d, h, w) of images of one size.

        Args:
            levels: K maps (B, D, h, w).
            image_states: (B, D, h, w) language states at the image tokens.
        """
        memory = self.language(image_states)
        if self.fuse is not None:
            injected = [injector(level) for injector, level in zip(self.injectors, levels, strict=True)]
            memory = memory + self.fuse(torch.cat(injected, dim=1))
        size = image_states.shape[-2:]
        positions = F.interpolate(self.positions.float(), size=size, mode="bicubic", align_corners=False)
        return memory + positions.to(memory.dtype)


def _fusion(levels: int, width: int, *, groups: int) -> nn.Sequential:
    """(B, levels * width, h, w) to (B, width, h, w)."""
    return nn.Sequential(
        nn.Conv2d(levels * width, width, 1),
        GroupNorm(groups, width),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1),
        GroupNorm(groups, width),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1),
    )
