"""The pixel decoder: encoder maps become memory tokens of several levels and one fine map of mask features.

Source: Mask2Former and Mask DINO (pixel decoder with multi-scale deformable attention).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.models.encoder_layer import EncoderLayer
from mvplm.models.geometry import LevelGeometry
from mvplm.models.layers import GroupNorm
from mvplm.models.position import map_position_embedding
from mvplm.structures import BoxFormat

LEVEL_STRIDES = {3: (8, 16, 32), 4: (8, 16, 32, 64), 5: (4, 8, 16, 32, 64)}
"""Strides of the memory's levels, fine to coarse, by their number: three as in Mask2Former, four by default."""
_MASK_STRIDE = 4
ENCODER_STRIDES = (4, 8, 16, 32)
_GROUPS = 32


@dataclass
class PixelMemory:
    """What the pixel decoder knows about B images.

    Attributes:
        memory: (B, M, C) tokens of all levels, fine to coarse, each level row by row.
        shapes: (h, w) of each level.
        padding: (B, M) bool, True on padded cells.
        valid_ratios: (B, 2) float32, share (w, h) of the padded frame that boxes are fractions of.
        mask_features: (B, mask width, H / 4, W / 4) over the padded frame; None where no masks are wanted.
        geometry: sizes on the host.
    """

    memory: Tensor
    shapes: list[tuple[int, int]]
    padding: Tensor
    valid_ratios: Tensor
    mask_features: Tensor | None
    geometry: LevelGeometry

    @property
    def maps(self) -> list[Tensor]:
        """The memory as a feature pyramid: (B, C, h, w) of each level, fine to coarse."""
        levels = self.memory.split([h * w for h, w in self.shapes], dim=1)
        return [level.transpose(1, 2).unflatten(2, shape) for level, shape in zip(levels, self.shapes, strict=True)]

    def select(self, rows: Sequence[int] | Tensor) -> "PixelMemory":
        """The given images, in that order; an image may be repeated. Prefer a list: a tensor is read back."""
        host = rows.tolist() if isinstance(rows, Tensor) else list(rows)
        if host == list(range(len(self.memory))):
            return self
        index = torch.as_tensor(host, device=self.memory.device)
        return PixelMemory(
            self.memory[index],
            self.shapes,
            self.padding[index],
            self.valid_ratios[index],
            None if self.mask_features is None else self.mask_features[index],
            self.geometry.select(host),
        )


class PixelDecoder(nn.Module):
    """Deformable encoder over several levels (by default strides 8 to 64) and a fine map that adds stride 4.

    Args:
        in_channels: channels of the encoder maps by stride: 4, 8, 16, 32.
        width: C of the memory. mask_width: channels of the mask features.
        layers, heads, points, ffn: depth, attention heads, sampling points per head and level, feed-forward width.
        levels: 4 (strides 8 to 64), 3 (8 to 32) or 5 (4 to 64); or their strides, the finest of them one of the maps'.
        mask_padding: ignore padded cells; False treats padding as content, and boxes are fractions of the padded frame.
        padded_boxes: boxes are fractions of the padded frame although padding is ignored.

    Raises:
        ValueError: when a stride is missing, or for another number of levels.
    """

    def __init__(
        self,
        in_channels: Mapping[int, int],
        *,
        width: int = 256,
        mask_width: int = 256,
        layers: int = 6,
        heads: int = 8,
        points: int = 4,
        ffn: int = 2048,
        levels: int | Sequence[int] = 4,
        mask_padding: bool = True,
        padded_boxes: bool = False,
    ) -> None:
        super().__init__()
        _check_strides(in_channels)
        if isinstance(levels, int) and levels not in LEVEL_STRIDES:
            raise ValueError(f"levels must be one of {', '.join(map(str, LEVEL_STRIDES))}, got {levels}")
        self.width = width
        self.strides = LEVEL_STRIDES[levels] if isinstance(levels, int) else tuple(levels)
        if self.strides[0] not in ENCODER_STRIDES:
            raise ValueError(f"the finest level must have one of the strides {ENCODER_STRIDES}, got {self.strides}")
        self.mask_padding = mask_padding
        self.box_format = BoxFormat.CXCYWH_PADDED if padded_boxes or not mask_padding else BoxFormat.CXCYWH_NORM
        groups = math.gcd(_GROUPS, width)
        coarsest = in_channels[ENCODER_STRIDES[-1]]
        projections = [
            nn.Conv2d(in_channels[stride], width, 1)
            if stride in ENCODER_STRIDES
            else nn.Conv2d(coarsest, width, 3, stride=stride // ENCODER_STRIDES[-1], padding=1)
            for stride in self.strides
        ]
        self.input_proj = nn.ModuleList(nn.Sequential(conv, GroupNorm(groups, width)) for conv in projections)
        self.level_embed = nn.Parameter(torch.randn(len(self.strides), width))
        self.encoder = nn.ModuleList(
            EncoderLayer(width, levels=len(self.strides), heads=heads, points=points, ffn=ffn) for _ in range(layers)
        )
        self.lateral = nn.Conv2d(in_channels[_MASK_STRIDE], width, 1, bias=False)
        self.lateral_norm = GroupNorm(groups, width)
        self.output = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.output_norm = GroupNorm(groups, width)
        self.mask_features = nn.Conv2d(width, mask_width, 1)
        for conv in projections:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        for conv in (self.lateral, self.output, self.mask_features):
            nn.init.kaiming_uniform_(conv.weight, a=1)
        nn.init.zeros_(self.mask_features.bias)

    def forward(
        self,
        features: Mapping[int, Tensor],
        *,
        valid_sizes: Sequence[tuple[int, int]] | None = None,
        frame: tuple[int, int] | None = None,
        masks: bool = True,
    ) -> PixelMemory:
        """Memory and mask features.

        Args:
            features: encoder maps (B, channels, H / s, W / s) by stride s: 4, 8, 16, 32.
            valid_sizes: B pairs (h, w), un-padded size in pixels; nothing is padding when None.
            frame: (H, W) padded size in pixels; that of the finest map times its stride when None.
            masks: whether mask features are wanted.
        """
        _check_strides(features)
        finest = features[_MASK_STRIDE]
        if frame is None:
            frame = (_MASK_STRIDE * finest.shape[-2], _MASK_STRIDE * finest.shape[-1])
        if valid_sizes is None:
            valid_sizes = [frame] * len(finest)
        maps = self.project(features)
        whole = [frame] * len(valid_sizes)
        geometry = LevelGeometry(
            [(x.shape[-2], x.shape[-1]) for x in maps],
            list(self.strides),
            frame,
            valid_sizes=list(valid_sizes) if self.mask_padding else whole,
            box_sizes=list(valid_sizes) if self.box_format is BoxFormat.CXCYWH_NORM else whole,
        )
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)
        padding = ~geometry.valid_cells(tokens.device)
        memory = self.encode(tokens, geometry, padding=padding)
        return PixelMemory(
            memory=memory,
            shapes=geometry.shapes,
            padding=padding,
            valid_ratios=geometry.valid_ratios(tokens.device),
            mask_features=self.fine_map(finest, memory, shape=geometry.shapes[0]) if masks else None,
            geometry=geometry,
        )

    def project(self, features: Mapping[int, Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) of the levels, fine to coarse, all of width C."""
        sources = [features[min(stride, ENCODER_STRIDES[-1])] for stride in self.strides]
        return [project(source) for project, source in zip(self.input_proj, sources, strict=True)]

    def encode(self, tokens: Tensor, geometry: LevelGeometry, *, padding: Tensor) -> Tensor:
        """Memory (B, M, C) from projected tokens (B, M, C); ``padding`` (B, M) is True on padded cells."""
        device = tokens.device
        positions = self._positions(geometry, device)
        centres = geometry.encoder_references(device) * geometry.valid_ratios(device)[:, None]
        tokens = tokens.float()
        for layer in self.encoder:
            tokens = layer(
                tokens,
                positions,
                references=centres[:, :, None],
                spatial_shapes=geometry.shapes,
                padding=None if geometry.full else padding,
            )
        return tokens

    def fine_map(self, finest: Tensor, memory: Tensor, *, shape: tuple[int, int]) -> Tensor:
        """Mask features (B, mask width, H / 4, W / 4) from the stride-4 map and the finest level of the memory."""
        # With channels side by side, as in the memory, the way back through the interpolation is much faster; the way
        # forth through the norms and convolutions is not.
        layout = torch.channels_last if torch.is_grad_enabled() else torch.contiguous_format
        lateral = self.lateral_norm(self.lateral(finest)).contiguous(memory_format=layout)
        coarse = memory[:, : shape[0] * shape[1]].transpose(1, 2).unflatten(2, shape).contiguous(memory_format=layout)
        above = F.interpolate(coarse, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(self.output_norm(self.output(lateral + above)).relu_())

    def _positions(self, geometry: LevelGeometry, device: torch.device) -> Tensor:
        """(B or 1, M, C) float32 sine embedding plus level embedding."""
        sizes = geometry.valid_sizes[:1] if geometry.full else geometry.valid_sizes
        levels = []
        for level, (shape, stride) in enumerate(zip(geometry.shapes, geometry.strides, strict=True)):
            counts = torch.tensor([[-(-h // stride), -(-w // stride)] for h, w in sizes], device=device)
            embedding = map_position_embedding(counts[:, 0], counts[:, 1], shape=shape, width=self.width)
            levels.append(embedding + self.level_embed[level])
        return torch.cat(levels, dim=1)


def _check_strides(given: Mapping[int, object]) -> None:
    missing = [stride for stride in ENCODER_STRIDES if stride not in given]
    if missing:
        raise ValueError(f"the pixel decoder needs strides {ENCODER_STRIDES}, got {sorted(given)}: {missing} missing")
