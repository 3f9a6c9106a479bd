"""Box-guided high-resolution pixel fusion: image features inside the boxes join the enlarged memory at stride 8."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mvplm.models.layers import GroupNorm
from mvplm.models.qwen3vl_seg.settings import DecoderSettings
from mvplm.structures.choices import check_choice

_SMALLEST_SIDE = 1e-3


def box_gate(
    boxes: Tensor, size: tuple[int, int], *, slope: float = 20.0, enlarge: float = 1.15, frame: str = "image"
) -> Tensor:
    """Soft indicators (k, H, W) float32 of enlarged boxes: four sigmoids multiplied, at the centres of pixels.

    Args:
        boxes: (k, 4) XYXY_NORM.
        size: (H, W) of the map that covers the image.
        slope: of the sigmoids, per unit of ``frame``.
        enlarge: factor on each box's sides, its centre kept.
        frame: "image": distances are fractions of the image, so that small boxes get weak gates (published);
            "box": distances are fractions of the box's own sides before it is enlarged.

    Raises:
        ValueError: for another frame.
    """
    check_choice("gate_frame", frame, choices=("image", "box"))
    boxes = boxes.float()
    low, high = boxes[:, :2], boxes[:, 2:]
    sides = (high - low).clamp(min=_SMALLEST_SIDE)
    margin = sides * (enlarge - 1) / 2
    unit = sides if frame == "box" else torch.ones_like(sides)
    along = []
    for axis, count in ((0, size[1]), (1, size[0])):
        centres = (torch.arange(count, dtype=torch.float32, device=boxes.device) + 0.5) / count
        rise = (centres - (low - margin)[:, axis, None]) / unit[:, axis, None]
        fall = ((high + margin)[:, axis, None] - centres) / unit[:, axis, None]
        along.append(torch.sigmoid(slope * rise) * torch.sigmoid(slope * fall))
    return along[1][:, :, None] * along[0][:, None, :]


class PixelStem(nn.Sequential):
    """Three stride-2 convolutions with norm and GELU: an image (B, 3, 8a, 8b) becomes features (B, c, a, b).

    Args:
        channels: output channels of each convolution.
        groups: of the norms.
    """

    def __init__(self, channels: tuple[int, int, int], *, groups: int) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels[:-1]), channels, strict=True):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), GroupNorm(groups, after), nn.GELU()]
        super().__init__(*layers)


class SubPixelUpsampler(nn.Sequential):
    """Two sub-pixel convolutions: (B, d, h, w) becomes (B, d, 4h, 4w).

    The four kernels of each output channel start equal, so that a new network draws no checkerboard.

    Args:
        width: d.
    """

    def __init__(self, width: int) -> None:
        first, second = (nn.Conv2d(width, 4 * width, 3, padding=1) for _ in range(2))
        super().__init__(first, nn.PixelShuffle(2), nn.GELU(), second, nn.PixelShuffle(2))
        with torch.no_grad():
            for convolution in (first, second):
                for parameter in (convolution.weight, convolution.bias):
                    parameter.copy_(parameter[::4].repeat_interleave(4, dim=0))


class BoxGuidedFusion(nn.Module):
    """Pixel features (B, d, 4h, 4w): ``GELU(GN(Conv(concat(enlarged memory, gate * image features))))``.

    Args:
        settings: width, stem, groups and the gate's options.
    """

    def __init__(self, settings: DecoderSettings) -> None:
        super().__init__()
        self.slope, self.enlarge = settings.gate_slope, settings.gate_enlarge
        self.frame, self.per_instance = settings.gate_frame, settings.gate_mode == "instance"
        self.stem = PixelStem(settings.stem_channels, groups=settings.groups) if settings.image_branch else None
        self.upsample = SubPixelUpsampler(settings.width)
        joint = settings.width + (settings.stem_channels[-1] if settings.image_branch else 0)
        self.fuse = nn.Conv2d(joint, settings.width, 3, padding=1)
        self.norm = GroupNorm(settings.groups, settings.width)

    def forward(self, memory: Tensor, images: Tensor, *, boxes: list[Tensor]) -> list[Tensor]:
        """Pixel features of each image: (1, d, 4h, 4w), or (k, d, 4h, 4w) with a gate for each instance.

        Args:
            memory: (B, d, h, w).
            images: (B, 3, 32 * h, 32 * w), values in [-1, 1].
            boxes: per image (k, 4) XYXY_NORM, k at least 1.
        """
        enlarged = self.upsample(memory)
        if self.stem is None:
            return list(F.gelu(self.norm(self.fuse(enlarged))).split(1))
        details = self.stem(images)
        gates = [self.gate(own, (details.shape[-2], details.shape[-1])) for own in boxes]
        counts = [len(gate) for gate in gates]
        repeats = torch.tensor(counts, device=memory.device)
        gated = torch.cat(gates)[:, None].to(details.dtype) * details.repeat_interleave(repeats, dim=0)
        joint = torch.cat([enlarged.repeat_interleave(repeats, dim=0), gated], dim=1)
        return list(F.gelu(self.norm(self.fuse(joint))).split(counts))

    def gate(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Gates (1, H, W) or (k, H, W) float32 of one image's XYXY_NORM boxes (k, 4); joint ones are the maximum."""
        gates = box_gate(boxes, size, slope=self.slope, enlarge=self.enlarge, frame=self.frame)
        return gates if self.per_instance else gates.amax(0, keepdim=True)
